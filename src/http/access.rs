//! Who may ask for work: API keys, if there are any, and how much each may ask for at once.
//!
//! The file of keys is read again when it changes, or when the process is told to (SIGHUP). One that cannot be read
//! or has a wrong line changes nothing: the keys before it stay. A key that is gone is refused from then on, and
//! what it has asked for until then is answered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use warp::http::{HeaderMap, header};

use super::Problem;
use super::keys::{self, InvalidFile, KeyHash, KeyName};

/// How often it is looked whether the file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most bytes of a file of keys, well above what as many keys as may be need with their comments.
const MAX_FILE: u64 = 1024 * 1024;

/// The keys that may ask. A clone is another handle on the same ones.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// How many requests a name may have in progress.
    requests: usize,
    clients: RwLock<Arc<[Client]>>,
    /// What the file looked like when it was last read, rightly or not.
    seen: Mutex<Option<Stamp>>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Client {
    name: KeyName,
    hash: KeyHash,
    /// One permit for each request that the name may still begin. All keys of one name share them, also with those
    /// of the file before.
    room: Arc<Semaphore>,
    requests: usize,
}

/// Why a file of keys is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error(
        "the API keys in {} cannot be read: {error}; name a file in ATTO_WORK_API_KEYS_FILE that is there and that this \
         process may read",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It has a wrong line, or no key.
    #[error("the API keys in {} are wrong: {error}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: InvalidFile,
    },
}

impl Keys {
    /// Reads the keys in this file, each name of which may have so many `requests` in progress.
    ///
    /// # Errors
    ///
    /// [`KeysError`] if there are none to be had.
    pub fn open(path: PathBuf, requests: NonZeroUsize) -> Result<Self, KeysError> {
        let keys = Self(Arc::new(Inner {
            path,
            requests: requests.get().min(Semaphore::MAX_PERMITS),
            clients: RwLock::new(Arc::new([])),
            seen: Mutex::new(None),
        }));
        keys.read()?;
        tracing::info!(path = %keys.0.path.display(), keys = keys.clients().len(), requests, "only API keys may ask");
        Ok(keys)
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.clients().len()
    }

    /// Who has sent these headers.
    ///
    /// # Errors
    ///
    /// [`Problem::KeyMissing`] or [`Problem::KeyUnknown`].
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Client, Problem> {
        let given = KeyHash::of(bearer(headers).ok_or(Problem::KeyMissing)?);
        let clients = self.clients();
        let mut found = None;
        // To the last of them, so that the time says nothing about which it is.
        for client in clients.iter() {
            if client.hash.matches(&given) {
                found = Some(client);
            }
        }
        found.cloned().ok_or(Problem::KeyUnknown)
    }

    /// Reads the file again whenever it changes, or a `hangup` comes. Never ends.
    pub async fn follow(self, mut hangup: Signal) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                _ = look.tick() => false,
                Some(()) = hangup.recv() => true,
            };
            let keys = self.clone();
            // A file may be far away.
            let read = tokio::task::spawn_blocking(move || keys.read_if(told));
            if let Err(error) = read.await {
                tracing::error!(%error, "API keys cannot be looked at");
            }
        }
    }

    /// Reads the file again if it has changed, or if that is demanded.
    fn read_if(&self, demanded: bool) {
        let changed = *self.seen() != Stamp::of(&self.0.path);
        if !changed && !demanded {
            return;
        }
        match self.read() {
            Ok(()) => {
                tracing::info!(path = %self.0.path.display(), keys = self.clients().len(), "API keys read again");
            }
            Err(error) => tracing::error!(%error, "the API keys stay as they were"),
        }
    }

    fn read(&self) -> Result<(), KeysError> {
        let path = &self.0.path;
        // Before it is read: whatever changes while it is read is seen at the next look.
        *self.seen() = Stamp::of(path);
        let failed = |error| KeysError::Read {
            path: path.clone(),
            error,
        };
        let file = read(path).map_err(failed)?;
        let keys = keys::parse(&file).map_err(|error| KeysError::Wrong {
            path: path.clone(),
            error,
        })?;
        let mut rooms: HashMap<KeyName, Arc<Semaphore>> = self
            .clients()
            .iter()
            .map(|client| (client.name.clone(), Arc::clone(&client.room)))
            .collect();
        let requests = self.0.requests;
        let clients = keys.into_iter().map(|(name, hash)| {
            let room = rooms.entry(name.clone());
            let room = Arc::clone(room.or_insert_with(|| Arc::new(Semaphore::new(requests))));
            Client {
                name,
                hash,
                room,
                requests,
            }
        });
        let clients = clients.collect();
        *self
            .0
            .clients
            .write()
            .unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }

    fn clients(&self) -> Arc<[Client]> {
        let clients = self.0.clients.read();
        Arc::clone(&clients.unwrap_or_else(PoisonError::into_inner))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Option<Stamp>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// The name of the key.
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Begins a request, which is in progress until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// [`Problem::KeyBusy`] if there are as many as may be.
    pub(super) fn begin(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        room.map_err(|_| Problem::KeyBusy {
            limit: self.requests,
        })
    }
}

/// The key in the one `Authorization` header, as RFC 6750 (2.1) has it; none if there is another number of them or
/// the scheme is another.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, key) = given.as_bytes().split_at_checked("Bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

/// The file's bytes.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        let error = format!("it has more than {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(bytes)
}

/// What tells one state of a file from another. Links are followed, so that a secret of Kubernetes, which is one
/// link to a folder that is another for each version, has changed with its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    /// The state of the file at this path now; none if there is no such file, or it may not be looked at.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        })
    }
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let authorization =
            |value: &&'static str| (header::AUTHORIZATION, HeaderValue::from_static(value));
        values.iter().map(authorization).collect()
    }

    #[test]
    fn a_key_is_sent_in_one_way_only() {
        for right in ["Bearer key", "bearer key", "BEARER  key "] {
            assert_eq!(bearer(&headers(&[right])), Some(&b"key"[..]), "{right}");
        }
        let wrong: [&[&str]; 8] = [
            &[],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer\tkey"],
            &["Basic a2V5"],
            &["key"],
            &["Bearer key", "Bearer key"],
        ];
        for wrong in wrong {
            assert_eq!(bearer(&headers(wrong)), None, "{wrong:?}");
        }
    }
}
