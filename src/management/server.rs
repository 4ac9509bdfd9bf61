//! The thread of the management port. Probes are answered however busy the public port is.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::connections::{self, ConnectionLimits, MANAGEMENT_CONNECTIONS, Port, Routes};
use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// Serves the management port until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Serves `routes` on a thread and a runtime of their own. Must be called in the runtime of the listener.
    ///
    /// # Errors
    ///
    /// If the system refuses the thread or its runtime.
    pub fn start(
        listener: TcpListener,
        routes: Routes,
        limits: ConnectionLimits,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let listener = listener.into_std()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let limits = ConnectionLimits {
            open: MANAGEMENT_CONNECTIONS,
            ..limits
        };
        let (report, began) = mpsc::channel();
        // The runtime is made in its thread, since it must not be dropped in another runtime if there is no thread.
        let serve = move || match inside_runtime(listener) {
            Ok((runtime, listener)) => {
                let _ = report.send(Ok(()));
                runtime.block_on(async {
                    tokio::select! {
                        // Probes are answered until the process ends.
                        () = connections::serve(
                            listener,
                            Port::Management,
                            routes,
                            limits,
                            Lifecycle::endless(),
                            metrics,
                        ) => {}
                        _ = stopped => {}
                    }
                });
            }
            Err(error) => drop(report.send(Err(error))),
        };
        thread::Builder::new()
            .name("management".to_owned())
            .spawn(serve)?;
        began.recv().map_err(io::Error::other)??;
        Ok(Self { _stop: stop })
    }
}

/// A runtime for this thread alone, and the listener in it.
fn inside_runtime(listener: std::net::TcpListener) -> io::Result<(Runtime, TcpListener)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let listener = TcpListener::from_std(listener)?;
    drop(inside);
    Ok((runtime, listener))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use warp::{Filter, Reply};

    use super::*;

    #[tokio::test]
    async fn probes_are_answered_while_the_runtime_of_the_service_is_blocked() {
        let listener = connections::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let filter = warp::any().map(|| "UP".into_response()).boxed();
        let routes = Routes {
            filter,
            fields: &[],
        };
        let hour = Duration::from_secs(3600);
        let limits = ConnectionLimits {
            open: NonZeroUsize::MIN,
            header: hour,
            body: hour,
            idle: hour,
            age: hour,
        };
        let server = Server::start(listener, routes, limits, Metrics::new()).unwrap();
        // Blocks this test's only thread, as a flood of the public port might.
        let mut stream = TcpStream::connect(address).unwrap();
        let minute = Some(Duration::from_secs(60));
        stream.set_read_timeout(minute).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        drop(server);
        // The thread closes the port.
        while TcpStream::connect(address).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
