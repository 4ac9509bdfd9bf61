//! Opening a card with a time limit, on a thread that is left behind if its driver does not return.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::discovery::{Adapter, AdapterInfo};
use super::kernel::Kernel;
use super::open::{device_info, open_in_steps, reopen};
use super::progress::{Progress, STEP_LIMIT};
use crate::device::error::{DeviceError, catch_panic};
use crate::device::opened::{Device, Opener, Unopened};

/// A card that is being opened.
#[derive(Debug)]
pub struct Opening {
    info: AdapterInfo,
    kernel: Option<Kernel>,
    progress: Progress,
    /// How long a step may take.
    limit: Duration,
    opened: Receiver<Result<Device, DeviceError>>,
}

impl Opening {
    /// Begins to open an adapter with this kernel, or with the fastest of those that it can run.
    pub fn begin(adapter: &Adapter, kernel: Option<Kernel>) -> Self {
        let progress = Progress::default();
        let (sender, opened) = mpsc::channel();
        let info = adapter.info().clone();
        tracing::info!(
            device = info.label,
            driver = info.driver,
            "opening a card; if the process ends here, its driver has crashed: leave the card out with ATTO_WORK_DEVICE, or \
             choose ATTO_WORK_BACKEND=cpu"
        );
        let thread = {
            let (adapter, progress) = (adapter.clone(), progress.clone());
            let sender = sender.clone();
            thread::Builder::new()
                .name("card".to_owned())
                .spawn(move || {
                    let opened = catch_panic(|| open_in_steps(&adapter, kernel, &progress));
                    drop(adapter);
                    deliver(&sender, opened);
                })
        };
        if let Err(error) = thread {
            let error = DeviceError::Driver(format!("cannot start a thread to open it: {error}"));
            deliver(&sender, Err(error));
        }
        Self {
            info,
            kernel,
            progress,
            limit: STEP_LIMIT,
            opened,
        }
    }

    /// Waits for the card while it gets from step to step.
    ///
    /// # Errors
    ///
    /// [`Unopened`] if it cannot be opened or a step takes too long. In the latter case its opener first waits for this
    /// attempt to end.
    pub fn finish(self) -> Result<Device, Box<Unopened>> {
        loop {
            let (step, mut watch) = self.progress.latest();
            let error = match watch.receive(self.limit, &self.opened) {
                Ok(Ok(device)) => return Ok(device),
                Ok(Err(error)) => error,
                Err(RecvTimeoutError::Disconnected) => ended_without_result(),
                // It may have begun another step meanwhile.
                Err(RecvTimeoutError::Timeout) if self.progress.latest().0 != step => continue,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!(
                        device = self.info.label,
                        %step,
                        limit = ?self.limit,
                        "a card is not ready in time; it serves once it is open"
                    );
                    let error = DeviceError::Late {
                        step: step.to_string(),
                        limit: self.limit,
                    };
                    return Err(Box::new(unopened(
                        &self.info,
                        self.kernel,
                        error,
                        Some(self.opened),
                    )));
                }
            };
            return Err(Box::new(unopened(&self.info, self.kernel, error, None)));
        }
    }
}

/// Hands a card over to the thread that waits for it. If there is none any more, the card is closed: dropping it may
/// block.
fn deliver(waiting: &Sender<Result<Device, DeviceError>>, opened: Result<Device, DeviceError>) {
    let _ = catch_panic(|| {
        drop(waiting.send(opened));
        Ok(())
    });
}

fn ended_without_result() -> DeviceError {
    DeviceError::Panicked("while it was opened".to_owned())
}

/// Describes an adapter that is not open, for this reason. Its opener waits for the attempt that is `under_way`, and
/// from then on opens it through a new instance of its driver.
fn unopened(
    info: &AdapterInfo,
    kernel: Option<Kernel>,
    error: DeviceError,
    under_way: Option<Receiver<Result<Device, DeviceError>>>,
) -> Unopened {
    let under_way = Mutex::new(under_way);
    let former = info.clone();
    let open = move || {
        let attempt = under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match attempt {
            Some(attempt) => attempt
                .recv()
                .unwrap_or_else(|_| Err(ended_without_result())),
            None => reopen(&former, kernel),
        }
    };
    Unopened {
        error,
        info: device_info(info, "none".to_owned(), Vec::new()),
        opener: Opener::new(open),
    }
}

#[cfg(test)]
mod tests {
    use super::super::discovery::adapters;
    use super::super::progress::Step;
    use super::*;
    use crate::device::opened::Device;

    fn opening(opened: Receiver<Result<Device, DeviceError>>, limit: Duration) -> Opening {
        let progress = Progress::default();
        progress.reach(Step::Compile);
        Opening {
            info: adapters().unwrap()[0].info().clone(),
            kernel: None,
            progress,
            limit,
            opened,
        }
    }

    #[test]
    fn a_card_that_is_late_is_waited_for_by_its_opener() {
        let (sender, opened) = mpsc::channel();
        let limit = Duration::from_millis(10);
        let unopened = opening(opened, limit).finish().unwrap_err();
        assert_eq!(unopened.info.kernel, "none");
        let text = unopened.error.to_string();
        assert_eq!(text, "compiling the kernels has not ended within 10ms");
        // The first attempt is the one under way, the second another one.
        sender.send(Err(DeviceError::OutOfMemory)).unwrap();
        let error = unopened.opener.open().unwrap_err();
        assert_eq!(error, DeviceError::OutOfMemory);
        drop(unopened.opener.open().unwrap());
    }

    #[test]
    fn a_card_that_cannot_be_opened_is_unopened() {
        let (sender, opened) = mpsc::channel();
        sender.send(Err(DeviceError::OutOfMemory)).unwrap();
        let unopened = opening(opened, STEP_LIMIT).finish().unwrap_err();
        assert_eq!(unopened.error, DeviceError::OutOfMemory);
        let (sender, opened) = mpsc::channel();
        drop(sender);
        let unopened = opening(opened, STEP_LIMIT).finish().unwrap_err();
        assert_eq!(unopened.error, ended_without_result());
    }
}
