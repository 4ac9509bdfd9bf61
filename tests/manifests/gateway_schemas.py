"""Writes gateway_schemas.json: the parts in use of the schemas of the Gateway API and of Envoy Gateway.

    python tests/manifests/gateway_schemas.py FOLDER_OR_FILE...

The arguments are the custom resource definitions: of sigs.k8s.io/gateway-api 1.4.1, config/crd/standard, and of
github.com/envoyproxy/gateway 1.7.0, charts/gateway-helm/crds/generated (both Apache-2.0). Only what the manifests use is kept, and
nothing else is allowed: the whole is two megabytes, most of it pods. Needs PyYAML.
"""

import json
import pathlib
import sys

import yaml

FOLDER = pathlib.Path("k8s/components/gateway-envoy")
TARGET = pathlib.Path("tests/manifests/gateway_schemas.json")
# Beside types, what a schema says of a value.
KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "anyOf")


def definitions(arguments):
    """The schemas of the definitions, by kind and version."""
    for argument in map(pathlib.Path, arguments):
        for path in sorted(argument.glob("*.yaml")) if argument.is_dir() else [argument]:
            for document in yaml.safe_load_all(path.read_text()):
                if document and document["kind"] == "CustomResourceDefinition":
                    spec = document["spec"]
                    for version in spec["versions"]:
                        name = f"{spec['group']}/{version['name']}"
                        yield (spec["names"]["kind"], name), version["schema"]["openAPIV3Schema"]


def documents():
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document.get("kind") not in (None, "Component"):
                yield document


def pruned(schema, values):
    """What the schema says of these values."""
    kept = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("format") == "int32":
        # The API server refuses more by the format alone.
        kept.setdefault("maximum", 2**31 - 1)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return {}
    if "properties" in schema:
        names = {name for value in values for name in value} | set(schema.get("required", []))
        unknown = names - schema["properties"].keys()
        if unknown:
            sys.exit(f"there is no {unknown} in {sorted(schema['properties'])}")
        kept["properties"] = {
            name: pruned(schema["properties"][name], [value[name] for value in values if name in value])
            for name in sorted(names)
        }
        kept["additionalProperties"] = False
        kept["required"] = sorted(
            name for name in schema.get("required", []) if "default" not in schema["properties"][name]
        )
    elif isinstance(schema.get("additionalProperties"), dict):
        values = [inner for value in values for inner in value.values()]
        kept["additionalProperties"] = pruned(schema["additionalProperties"], values)
    elif "items" in schema:
        kept["items"] = pruned(schema["items"], [item for value in values for item in value])
    return kept


def main():
    known = dict(definitions(sys.argv[1:]))
    specs = {}
    for document in documents():
        if (document["kind"], document["apiVersion"]) in known:
            specs.setdefault((document["kind"], document["apiVersion"]), []).append(document["spec"])
    schemas = {
        kind: {"apiVersion": version, "spec": pruned(known[kind, version]["properties"]["spec"], values)}
        for (kind, version), values in sorted(specs.items())
    }
    TARGET.write_text(json.dumps(schemas, indent=1) + "\n")
    print(f"wrote {TARGET}: {', '.join(schemas)}")


if __name__ == "__main__":
    main()
