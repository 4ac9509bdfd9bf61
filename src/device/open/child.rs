//! Lists the cards in a process of its own first: a driver that crashes there or does not return harms nothing here.
//!
//! The child stays until this process has listed them too. So the cards are not started twice, which takes a second
//! each where nothing else keeps them awake.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::device::error::DeviceError;
use crate::device::stopwatch::Stopwatch;

/// How long a child may take to end.
const END: Duration = Duration::from_secs(10);

/// How often to look whether a child has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A command that lists the cards: it writes a JSON array of their labels as a line, and ends when its standard input
/// does.
#[derive(Debug)]
pub struct Lister {
    program: PathBuf,
    args: Vec<OsString>,
    /// Has a clone for each child that has not ended.
    children: Arc<()>,
}

/// Why the cards could not be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    /// The driver crashed.
    #[error(
        "a Vulkan driver crashes while the cards are listed ({0}): `VK_LOADER_DEBUG=all work-server devices` shows which, \
         and VK_LOADER_DRIVERS_DISABLE leaves a driver out"
    )]
    Crashed(String),
    /// The driver does not return.
    #[error(
        "listing the cards has not ended within {0:?}, so a Vulkan driver hangs: `VK_LOADER_DEBUG=all work-server devices` \
         shows which, and VK_LOADER_DRIVERS_DISABLE leaves a driver out"
    )]
    Hung(Duration),
    /// A driver does not return, or a card's node cannot be opened in time, while the reason is looked for.
    #[error(
        "finding out why no card is listed has not ended within {0:?}: a driver hangs, or the kernel does"
    )]
    Unexplained(Duration),
    /// The process could not be started, or wrote something else.
    #[error("{0}")]
    NoAnswer(String),
    /// Listing in this process failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Lister {
    /// A command. It inherits the environment.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            children: Arc::default(),
        }
    }

    /// Runs the command for at most `limit`.
    pub(super) fn list(&self, limit: Duration) -> Result<Listed, ListError> {
        // If a child cannot be killed, the kernel's driver holds it, and would hold the next child too.
        if Arc::strong_count(&self.children) > 1 {
            return Err(ListError::Hung(limit));
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| {
            ListError::NoAnswer(format!("cannot start a process to list the cards: {error}"))
        })?;
        let mut watch = Stopwatch::begin_with(child.id());
        let stdout = child.stdout.take();
        let mut child = Running {
            child: Some(child),
            counted: Arc::clone(&self.children),
        };
        let (sender, line) = mpsc::channel();
        let read = move || {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                let _ = BufReader::new(stdout).read_line(&mut line);
            }
            let _ = sender.send(line);
        };
        thread::Builder::new()
            .name("listing".to_owned())
            .spawn(read)
            .map_err(|error| {
                ListError::NoAnswer(format!("cannot start a thread to list the cards: {error}"))
            })?;
        let Ok(line) = watch.receive(limit, &line) else {
            child.kill();
            return Err(ListError::Hung(limit));
        };
        if let Ok(labels) = serde_json::from_str(&line) {
            return Ok(Listed {
                labels,
                _child: child,
            });
        }
        Err(match child.ended(END) {
            Some(status) if status.signal().is_some() => ListError::Crashed(status.to_string()),
            Some(status) => {
                ListError::NoAnswer(format!("the process that lists the cards ended: {status}"))
            }
            None => ListError::Hung(END),
        })
    }
}

/// The cards that a child has listed. The child ends when this is dropped.
pub(super) struct Listed {
    pub(super) labels: Vec<String>,
    _child: Running,
}

/// A child that is ended when this is dropped.
struct Running {
    /// `None` once this is dropped.
    child: Option<Child>,
    counted: Arc<()>,
}

impl Running {
    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // It fails only for a child that has ended.
            let _ = child.kill();
        }
    }

    /// Waits for the end. `None` if it does not come within `limit`.
    fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let deadline = Instant::now() + limit;
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        drop(child.stdin.take());
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        let mut child = Self {
            child: Some(child),
            counted: Arc::clone(&self.counted),
        };
        let reap = move || {
            // Drivers may take their time to close. One that hangs is killed.
            if child.ended(END).is_none() {
                child.kill();
            }
            if let Some(mut child) = child.child.take() {
                let _ = child.wait();
            }
        };
        // Without a thread it ends as well, since its standard input has, but stays a zombie.
        let _ = thread::Builder::new()
            .name("listing".to_owned())
            .spawn(reap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Lister {
        Lister::new("/bin/sh", ["-c", script])
    }

    #[test]
    fn a_child_stays_until_its_list_is_dropped() {
        let lister = shell(r#"echo '["a card","another"]'; read x; exit 0"#);
        let listed = lister.list(END).unwrap();
        assert_eq!(listed.labels, ["a card", "another"]);
        assert_eq!(Arc::strong_count(&lister.children), 2);
        drop(listed);
        let deadline = Instant::now() + END;
        while Arc::strong_count(&lister.children) > 1 {
            assert!(Instant::now() < deadline, "the child does not end");
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn a_child_that_crashes_or_hangs_or_fails_is_an_error_that_says_so() {
        let error = |script: &str| {
            let limit = Duration::from_millis(200);
            shell(script).list(limit).err().unwrap()
        };
        let crashed = error("kill -SEGV $$");
        assert!(matches!(crashed, ListError::Crashed(_)), "{crashed:?}");
        let text = crashed.to_string();
        assert!(text.contains("signal: 11"), "{text}");
        assert!(text.contains("VK_LOADER_DRIVERS_DISABLE"), "{text}");
        let hung = error("exec sleep 60");
        assert_eq!(hung, ListError::Hung(Duration::from_millis(200)));
        let failed = error("exit 3");
        assert!(failed.to_string().contains("exit status: 3"), "{failed}");
        let rubbish = error("echo rubbish");
        assert!(matches!(rubbish, ListError::NoAnswer(_)), "{rubbish:?}");
        let missing = Lister::new("/no/such/program", ["x"]).list(END);
        assert!(matches!(missing, Err(ListError::NoAnswer(_))));
    }

    #[test]
    fn no_child_is_started_while_another_does_not_end() {
        let lister = shell(r#"echo '[]'; read x"#);
        let listed = lister.list(END).unwrap();
        let refused = lister.list(END).err();
        assert_eq!(refused, Some(ListError::Hung(END)));
        drop(listed);
    }
}
