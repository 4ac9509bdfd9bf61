"""What promtool does not check of k8s/monitoring: see the functions whose names begin with `check`.

    monitoring.py check FOLDER PROMTOOL
    monitoring.py autoscalers FOLDER PROMTOOL
    monitoring.py generate FOLDER
    monitoring.py self-test FOLDER PROMTOOL

Python 3.9 or later and PyYAML are needed. tests/monitoring calls it.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

SOURCES = pathlib.Path("src")

# Labels that Prometheus gives a target: the first two everywhere, the others in Kubernetes.
TARGET_LABELS = {"job", "instance", "namespace", "pod"}
# What the level of a recorded series stands for beside its own words; see the head of rules.yaml.
LEVELS = {"job": {"namespace", "job"}, "instance": {"namespace", "job", "pod", "instance"}}
# Labels whose values are fixed, and stand in the sources as literals.
FIXED_VALUES = {"backend", "listener", "network", "outcome", "reason", "state"}
SEVERITIES = {"critical", "warning"}
KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


class Problems(list):
    def add(self, where, what):
        self.append(f"{where}: {what}")


# Expressions


class Expression:
    """The metrics and labels that an expression of PromQL names. It need not be well formed: promtool sees to that."""

    def __init__(self, text):
        self.selectors = []  # (metric, label, operator, value)
        self.metrics = []
        self.grouped = []
        text = re.sub(r"\[[^\]]*\]", "", text)  # ranges
        text = re.sub(r"([a-zA-Z_:][\w:]*)\s*\{((?:\"(?:\\.|[^\"\\])*\"|[^}\"])*)\}", self._selector, text)
        text = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
        text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", self._grouping, text)
        for match in re.finditer(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])", text):
            if match[0].lower() not in KEYWORDS:
                self.metrics.append(match[0])

    def _selector(self, match):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:\\.|[^"\\])*)"', match[2]):
            self.selectors.append((match[1], label, operator, value))
        return match[1]

    def _grouping(self, match):
        self.grouped += [label.strip() for label in match[2].split(",") if label.strip()]
        return " "


# Metrics


def known_metrics(groups):
    """Each series that there is, with its labels: those of the table of metrics in src/telemetry, those that rules
    record, and those that Prometheus makes."""
    metrics = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity", "device", "network"}}
    for line in sources("telemetry").splitlines():
        row = re.match(r"//! \| (`[^|]*`) \|([^|]*)\|([^|]*)\|", line)
        if not row:
            continue
        labels = set(re.findall(r"`(\w+)`", row[3])) | {"application"}
        for name in re.findall(r"`([a-z]\w+)`", row[1]):
            kind = row[2].strip()
            if kind.startswith("histogram"):
                metrics[f"{name}_bucket"] = labels | {"le"}
                metrics[f"{name}_sum"] = metrics[f"{name}_count"] = labels
            elif kind.startswith("summary"):
                metrics[f"{name}_sum"] = metrics[f"{name}_count"] = labels
            else:
                metrics[name] = labels
    for rule in all_rules(groups):
        if "record" in rule:
            words = rule["record"].split(":")[0].split("_")
            metrics[rule["record"]] = set().union(*(LEVELS.get(word, {word}) for word in words))
    return metrics


def sources(folder=""):
    return "".join(path.read_text() for path in sorted((SOURCES / folder).rglob("*.rs")))


class Names:
    """Judges expressions by the names that there are."""

    def __init__(self, groups):
        self.metrics = known_metrics(groups)
        self.literals = set(re.findall(r'"([\w-]+)"', sources()))

    def check(self, where, text, problems):
        expression = Expression(text)
        for metric in expression.metrics:
            if metric not in self.metrics:
                problems.add(where, f"no metric is called {metric}")
        for metric, label, operator, value in expression.selectors:
            if label not in self.metrics.get(metric, {label}) | TARGET_LABELS:
                problems.add(where, f"{metric} has no label {label}")
            if label in FIXED_VALUES and "$" not in value and operator in ("=", "=~"):
                for part in value.split("|"):
                    if part not in self.literals:
                        problems.add(where, f"{label} is never {part}")
        labels = self.labels(expression)
        for label in expression.grouped:
            if label not in labels:
                problems.add(where, f"none of its metrics has a label {label}")

    def labels(self, expression):
        return TARGET_LABELS.union(*(self.metrics.get(metric, set()) for metric in expression.metrics))


# Rules


def all_rules(groups):
    return [rule for group in groups["groups"] for rule in group["rules"]]


def check_rules(folder, groups, names, problems):
    """Alerts have what an operator needs: a severity, what to do, an argued delay and a section of the runbook."""
    text = (folder / "rules.yaml").read_text()
    headings = {heading.lower() for heading in re.findall(r"^#+ (.*)$", (folder / "README.md").read_text(), re.MULTILINE)}
    alerts = set()
    for rule in all_rules(groups):
        where = rule.get("alert") or rule["record"]
        names.check(where, rule["expr"], problems)
        if "record" in rule:
            if len(where.split(":")) != 3:
                problems.add(where, "its name is not level:metric:operation")
            continue
        alerts.add(where)
        if rule.get("labels", {}).get("severity") not in SEVERITIES:
            problems.add(where, f"its severity is none of {sorted(SEVERITIES)}")
        if "for" not in rule:
            problems.add(where, "it has no delay (for), not even 0m")
        if not re.search(rf"^      # .*\n      - alert: {where}\n", text, re.MULTILINE):
            problems.add(where, "no comment above it argues its delay and threshold")
        annotations = rule.get("annotations", {})
        for annotation in ("summary", "description", "runbook_url"):
            if not annotations.get(annotation):
                problems.add(where, f"it has no {annotation}")
        if annotations.get("runbook_url", "").rpartition("k8s/monitoring/README.md#")[2] != where.lower():
            problems.add(where, "its runbook_url does not lead to its section")
        if where.lower() not in headings:
            problems.add(where, "README.md has no section of this name")
        for label in re.findall(r"\$labels\.(\w+)", " ".join(map(str, annotations.values()))):
            if label not in names.labels(Expression(rule["expr"])):
                problems.add(where, f"its text names a label {label}, which it has not")
    for heading in headings:
        if heading.startswith("attowork") and heading not in {alert.lower() for alert in alerts}:
            problems.add("README.md", f"a section is called {heading}, and no alert is")


def check_tests(folder, groups, names, problems):
    """Every alert is seen to fire and seen to be quiet, and every recorded series is compared."""
    fires, quiet, compared = set(), set(), set()
    for path in sorted(folder.glob("rules*-test.yaml")):
        tests = yaml.safe_load(path.read_text())
        if tests.get("group_eval_order") != [group["name"] for group in groups["groups"]]:
            problems.add(path.name, "its group_eval_order is not the groups of rules.yaml in their order")
        for test in tests["tests"]:
            for series in test["input_series"]:
                names.check(f"{path.name}, {test['name']}", series["series"], problems)
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else quiet).add(case["alertname"])
            for case in test.get("promql_expr_test", []):
                if case["exp_samples"]:
                    compared.add(case["expr"])
    for rule in all_rules(groups):
        if "record" in rule:
            if rule["record"] not in compared:
                problems.add(rule["record"], "no test compares it")
        else:
            if rule["alert"] not in fires:
                problems.add(rule["alert"], "no test sees it fire")
            if rule["alert"] not in quiet:
                problems.add(rule["alert"], "no test sees it quiet")


def custom_resource(groups):
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "atto-work-server",
            # By default, kube-prometheus-stack reads only objects labelled with its release's name.
            "labels": {"app.kubernetes.io/name": "atto-work-server", "release": "kube-prometheus-stack"},
        },
        "spec": groups,
    }


class Blocks(yaml.SafeDumper):
    """Writes text of several lines as such, and not with escapes."""

    def represent_text(self, text):
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Blocks.add_representer(str, Blocks.represent_text)


def generate(folder):
    groups = yaml.safe_load((folder / "rules.yaml").read_text())
    head = "# The rules of rules.yaml for the operator of Prometheus. Made by `tests/monitoring generate`; change rules.yaml instead.\n"
    body = yaml.dump(custom_resource(groups), Dumper=Blocks, sort_keys=False, width=120)
    (folder / "prometheus-rule.yaml").write_text(head + body)


def check_custom_resource(folder, groups, problems):
    if yaml.safe_load((folder / "prometheus-rule.yaml").read_text()) != custom_resource(groups):
        problems.add("prometheus-rule.yaml", "it differs from rules.yaml: run tests/monitoring generate")


# The dashboard


def check_dashboard(folder, groups, names, promtool, problems):
    dashboard = json.loads((folder / "dashboard.json").read_text())
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for expected in ("datasource", "namespace", "pod", "network", "device"):
        if expected not in variables:
            problems.add("dashboard", f"it has no variable {expected}")
    check_data_sources(dashboard, problems)
    expressions = []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            call = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            if not call or variable["query"].get("query") != variable["definition"]:
                problems.add(f"variable {variable['name']}", "it is no label_values(…), or its definition is not its query")
                continue
            expressions.append((f"variable {variable['name']}", call[1]))
            names.check(f"variable {variable['name']}", f"sum by ({call[2]}) ({call[1]})", problems)
            check_variables(f"variable {variable['name']}", call[1], variables, problems)
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            expressions.append((f"annotation {annotation['name']}", annotation["expr"]))
            names.check(f"annotation {annotation['name']}", annotation["expr"], problems)
    panels = dashboard["panels"]
    check_layout(panels, problems)
    for panel in panels:
        where = f"panel {panel['title']!r}"
        if panel["type"] == "row":
            continue
        if not panel.get("description"):
            problems.add(where, "it has no description")
        if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
            problems.add(where, "it has no unit")
        if not panel.get("targets"):
            problems.add(where, "it asks nothing")
        references = [target["refId"] for target in panel["targets"]]
        if len(set(references)) != len(references):
            problems.add(where, "two of its queries have one refId")
        for target in panel["targets"]:
            text = target["expr"]
            expressions.append((where, text))
            names.check(where, text, problems)
            check_variables(where, text, variables, problems)
            expression = Expression(text)
            for metric in expression.metrics:
                if (metric, "namespace", "=~", "$namespace") not in expression.selectors:
                    problems.add(where, f"{metric} is not limited to $namespace")
            for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")):
                if label not in names.labels(expression) | {"le"}:
                    problems.add(where, f"its legend names a label {label}, which it has not")
    if check_syntax(expressions, promtool, problems):
        check_answers(folder, groups, names, expressions, promtool, problems)


def check_data_sources(node, problems):
    """Another Grafana has another uid for its Prometheus, so panels must use the variable."""
    if isinstance(node, dict):
        source = node.get("datasource")
        if source is not None and source != {"type": "prometheus", "uid": "${datasource}"}:
            if source != {"type": "grafana", "uid": "-- Grafana --"}:
                problems.add("dashboard", f"the data source {source} is not the variable")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            check_data_sources(child, problems)


def check_variables(where, text, variables, problems):
    for variable in re.findall(r"\$\{?(\w+)", text):
        if variable not in variables | {"__rate_interval", "__range", "__interval"}:
            problems.add(where, f"there is no variable ${variable}")


def check_layout(panels, problems):
    taken, ids = {}, set()
    for panel in panels:
        where = f"panel {panel['title']!r}"
        if panel["id"] in ids:
            problems.add(where, f"another has its id {panel['id']}")
        ids.add(panel["id"])
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            problems.add(where, "it is wider than the 24 columns")
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), where)
                if other != where:
                    problems.add(where, f"it overlaps {other}")
                    return


def without_variables(text):
    return re.sub(r"\$\{?\w+\}?", ".*", re.sub(r"\$\{?__(rate_interval|range|interval)\}?", "5m", text))


def check_syntax(expressions, promtool, problems):
    """promtool parses rules only, so each expression becomes one, with values for Grafana's variables. True if all parse."""
    rules, wheres = [], {}
    for number, (where, text) in enumerate(expressions):
        rules.append({"record": f"expression:number_{number}:parsed", "expr": without_variables(text)})
        wheres[f"expression:number_{number}:parsed"] = where
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "expressions.yaml")
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        result = subprocess.run([promtool, "check", "rules", "--lint=none", path], capture_output=True, text=True)
    if result.returncode:
        output = result.stdout + result.stderr
        for rule, where in wheres.items():
            output = output.replace(f'"{rule}"', where)
        problems.add("dashboard", f"promtool cannot parse what it asks: {output.strip()}")
    return result.returncode == 0


# Two values where panels tell these apart, or alerts; elsewhere one is enough.
SAMPLE_VALUES = {
    "alertname": ["AttoWorkStuck"],
    "alertstate": ["firing"],
    "backend": ["cpu", "gpu"],
    "device": ["card", "cpu"],
    "instance": ["10.0.0.1:8081", "10.0.0.2:8081"],
    "le": ["0.1", "1", "+Inf"],
    "network": ["LIVE", "LOCAL"],
    "outcome": ["ok", "deadline", "invalid", "failed", "exported"],
    "state": ["up", "standby", "unresponsive", "down"],
}


def check_answers(folder, groups, names, expressions, promtool, problems):
    """Every expression has an answer where there are all metrics, of two servers: what is matched with what fits together."""
    recorded = {rule["record"] for rule in all_rules(groups) if "record" in rule}
    series = []
    for metric, labels in names.metrics.items():
        if metric in recorded:
            continue
        sets = [{"namespace": "atto", "job": "atto-work-server"}]
        for label in sorted(labels | {"instance"}):
            sets = [{**known, label: value} for known in sets for value in SAMPLE_VALUES.get(label, ["x"])]
        for labels_of_one in sets:
            labels_of_one["pod"] = labels_of_one["instance"].partition(":")[0]
            text = ", ".join(f'{label}="{value}"' for label, value in labels_of_one.items())
            series.append({"series": f"{metric}{{{text}}}", "values": "1+1x20"})
    questions = {f"count({without_variables(text)}) > bool 0": where for where, text in expressions}
    test = {
        "rule_files": [str((folder / "rules.yaml").resolve())],
        "evaluation_interval": "1m",
        "group_eval_order": [group["name"] for group in groups["groups"]],
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {"expr": question, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 1}]}
                    for question in questions
                ],
            }
        ],
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, "test.yaml")
        path.write_text(yaml.safe_dump(test))
        result = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True)
    if result.returncode == 0:
        return
    output = result.stdout + result.stderr
    silent = [where for question, where in questions.items() if json.dumps(question) in output]
    for where in silent:
        problems.add(where, "what it asks has no answer though there are all metrics, or cannot be worked out")
    if not silent:
        problems.add("dashboard", f"what it asks cannot be worked out: {output.strip()}")


# All of it


def check(folder, promtool):
    problems = Problems()
    groups = yaml.safe_load((folder / "rules.yaml").read_text())
    names = Names(groups)
    check_rules(folder, groups, names, problems)
    check_tests(folder, groups, names, problems)
    check_custom_resource(folder, groups, problems)
    check_dashboard(folder, groups, names, promtool, problems)
    return problems


def edit_json(change):
    def edit(text):
        dashboard = json.loads(text)
        change(dashboard)
        return json.dumps(dashboard)

    return edit


def panels_of(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


# file, change, and a part of what must be said about it
DEFECTS = [
    ("rules.yaml", ("(atto_work_queue_depth)", "(atto_work_queue_length)"), "no metric is called atto_work_queue_length"),
    ("rules.yaml", ('outcome="queue_full"', 'result="queue_full"'), "has no label result"),
    ("rules.yaml", ('outcome="queue_full"', 'outcome="queue_fill"'), "outcome is never queue_fill"),
    ("rules.yaml", ("by (namespace, job, network)", "by (namespace, job, net)"), "none of its metrics has a label net"),
    ("rules.yaml", ("severity: critical", "severity: urgent"), "its severity is none of"),
    ("rules.yaml", ("for: 3m", "for: 4m"), "run tests/monitoring generate"),
    ("README.md", ("### AttoWorkStuck\n", "### Stuck\n"), "AttoWorkStuck: README.md has no section"),
    ("rules-test.yaml", ("alertname: AttoWorkStuck", "alertname: AttoWorkNoDevice"), "AttoWorkStuck: no test sees it fire"),
    ("rules-test.yaml", ("expr: job:atto_work_works:rate5m", "expr: job:atto_work_hashes:rate5m"), "job:atto_work_works:rate5m: no test"),
    ("rules-test.yaml", ("atto_work_searches_running{", "atto_work_searches{"), "no metric is called atto_work_searches"),
    ("dashboard.json", edit_json(lambda d: panels_of(d)[0]["targets"][0].update(expr="sum(")), "promtool cannot parse"),
    ("dashboard.json", ("/ on (namespace, job, pod, instance)", "/ on (namespace, job)"), "cannot be worked out"),
    ("dashboard.json", edit_json(lambda d: panels_of(d)[3].pop("description")), "it has no description"),
    ("dashboard.json", edit_json(lambda d: panels_of(d)[3].update(id=panels_of(d)[4]["id"])), "another has its id"),
    ("dashboard.json", edit_json(lambda d: panels_of(d)[1]["gridPos"].update(panels_of(d)[0]["gridPos"])), "it overlaps"),
    ("dashboard.json", edit_json(lambda d: panels_of(d)[2].update(datasource={"type": "prometheus", "uid": "P1"})), "is not the variable"),
    ("dashboard.json", ("$pod", "$node"), "there is no variable $node"),
    ("dashboard.json", ("atto_work_device_faults_total", "atto_work_faults_total"), "no metric is called atto_work_faults_total"),
    ("dashboard.json", ('namespace=~\\"$namespace\\"', 'namespace=~\\".*\\"'), "is not limited to $namespace"),
    ("dashboard.json", ("{{device}}", "{{card}}"), "its legend names a label card"),
]


def self_test(folder, promtool):
    """Makes defects in a copy and sees that each is found."""
    problems = Problems()
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, change, expected) in enumerate(DEFECTS):
            copy = pathlib.Path(scratch, str(number))
            shutil.copytree(folder, copy)
            text = (copy / name).read_text()
            changed = change(text) if callable(change) else text.replace(*change)
            if changed == text:
                problems.add(f"defect {number + 1}", f"{name} has nothing to change: {change}")
                continue
            (copy / name).write_text(changed)
            found = check(copy, promtool)
            if not any(expected in problem for problem in found):
                problems.add(f"defect {number + 1}", f"{expected!r} was not said, but {found}")
        # And one for promtool, since rules whose tests cannot fail would be no better than none.
        copy = pathlib.Path(scratch, "threshold")
        shutil.copytree(folder, copy)
        text = (copy / "rules.yaml").read_text()
        (copy / "rules.yaml").write_text(text.replace("> 8000", "> 8001"))
        tested = subprocess.run([promtool, "test", "rules", copy / "rules-test.yaml"], capture_output=True, text=True)
        if tested.returncode == 0 or "AttoWorkConnectionsNearLimit" not in tested.stdout + tested.stderr:
            problems.add("threshold", "promtool finds nothing")
    return problems


# What the autoscalers ask

AUTOSCALERS = pathlib.Path("k8s/components")
# A sample every 15 s, what each pod's metrics are, and whether Prometheus has it as a target. They are asked after 4 minutes, the
# 17th sample; the rate of hashes is 1 a second. The fifth has not been scraped for more than a minute.
PODS = {
    "searches": {"hashes": "0+15x20", "rate": "2x20", "up": "1x20"},
    "new": {"hashes": "0x20", "rate": "0x20", "up": "1x20"},
    "gone": {"hashes": "0+15x14 stale", "rate": "2x14 stale", "up": "1x14 stale"},
    "missed": {"hashes": "0+15x15 stale", "rate": "4x15 stale", "up": "1x15 0"},
    "lost": {"hashes": "0+15x10 stale", "rate": "4x10 stale", "up": "1x10 0x20"},
}
# What each pod has by itself: the part of the time in which it searches, and its searches. Of the others none of it counts.
PARTS = {"searches": (0.5, 3), "new": (0, 3), "missed": (0.25, 3)}


def check_autoscalers(promtool, problems):
    """Pods without a rate count as not busy, removed pods do not count, and an unknown value is not 0."""
    keda = yaml.safe_load((AUTOSCALERS / "autoscale-keda/scaledobject.yaml").read_text())
    scaler = [trigger["metadata"]["query"] for trigger in keda["spec"]["triggers"]]
    adapter = yaml.safe_load((AUTOSCALERS / "autoscale-hpa/prometheus-adapter-values.yaml").read_text())
    own = [rule["metricsQuery"] for rule in adapter["rules"]["custom"]]

    def case(pods, query, expected):
        series = []
        for pod in pods:
            labels = f'namespace="atto-work", job="atto-work-server", pod="{pod}", instance="{pod}:8081"'
            of_pod = PODS[pod]
            queue = re.sub(r"^\d+(\+\d+)?", "1", of_pod["hashes"])
            running = re.sub(r"^\d+(\+\d+)?", "2", of_pod["hashes"])
            for name, values in (
                ("atto_work_hashes_total", of_pod["hashes"]),
                ("atto_work_hash_rate", of_pod["rate"]),
                ("atto_work_searches_running", running),
                ("atto_work_queue_depth", queue),
                ("up", of_pod["up"]),
            ):
                series.append({"series": f"{name}{{{labels}}}", "values": values})
        return {
            "interval": "15s",
            "input_series": series,
            # Rounded, as older ones of promtool compare to the last bit.
            "promql_expr_test": [{"expr": f"round({query}, 0.001)", "eval_time": "4m", "exp_samples": expected}],
        }

    tests = []
    for number, (all_at_once, of_each) in enumerate(zip(scaler, own)):
        total = sum(part[number] for part in PARTS.values())
        tests.append(case(PODS, all_at_once, [{"labels": "{}", "value": total}]))
        tests.append(case(["new"], all_at_once, [{"labels": "{}", "value": PARTS["new"][number]}]))
        tests.append(case(["lost"], all_at_once, []))
        query = of_each.replace("<<.GroupBy>>", "pod")
        # Kubernetes asks for pods that it has, so not for the one that has gone.
        for pod in PODS.keys() - {"gone"}:
            asked = query.replace("<<.LabelMatchers>>", f'namespace="atto-work",pod="{pod}"')
            expected = [{"labels": f'{{pod="{pod}"}}', "value": PARTS[pod][number]}] if pod in PARTS else []
            tests.append(case(PODS, asked, expected))
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, "autoscalers-test.yaml")
        path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": tests}))
        tested = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True)
    if tested.returncode:
        problems.add("autoscalers", tested.stdout + tested.stderr)
    return len(tests)


def main():
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "generate":
        generate(folder)
        return
    if command == "autoscalers":
        problems = Problems()
        tests = check_autoscalers(sys.argv[3], problems)
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            sys.exit(1)
        print(f"{tests} answers are as they should be")
        return
    problems = {"check": check, "self-test": self_test}[command](folder, sys.argv[3])
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} problems")
    if command == "check":
        rules = all_rules(yaml.safe_load((folder / "rules.yaml").read_text()))
        panels = panels_of(json.loads((folder / "dashboard.json").read_text()))
        alerts = sum("alert" in rule for rule in rules)
        print(f"{alerts} alerts, {len(rules) - alerts} recorded series, {len(panels)} panels: nothing to object to")
    else:
        print(f"{len(DEFECTS) + 1} of {len(DEFECTS) + 1} found")


if __name__ == "__main__":
    main()
