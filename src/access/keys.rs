//! The API keys in use, and how many requests each name may have in progress.
//!
//! The file of keys is reloaded on SIGHUP, and when it has changed and then stayed the same for [`CHECK_EVERY`]. The wait
//! keeps a file that is rewritten in place from being read half-written. If the file cannot be read or has a wrong line, the
//! keys loaded before stay in use. A removed key is refused from then on; its requests in progress are still answered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use warp::http::{HeaderMap, header};

use super::file::{self, InvalidFile};
use super::key::{KeyHash, KeyName};
use crate::problem::Problem;

/// How often the file is checked for changes.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The maximum size of a file of keys, in bytes. The maximum number of keys needs far less.
const MAX_FILE: u64 = 1024 * 1024;

/// The API keys in use. A clone shares them.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// How many requests a name may have in progress.
    requests: usize,
    entries: RwLock<Arc<[Entry]>>,
    /// Which versions of the file were seen.
    seen: Mutex<Seen>,
}

/// Which versions of the file were seen; `None` if there was none.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When it was last read, with or without success.
    read: Option<Stamp>,
    /// When it was last checked.
    checked: Option<Stamp>,
}

impl Seen {
    /// Whether a version that was not read yet has stayed the same since the last check.
    fn is_to_be_read(&mut self, now: Option<Stamp>) -> bool {
        let is_stable = std::mem::replace(&mut self.checked, now) == now;
        is_stable && now != self.read
    }
}

/// A key of the file.
#[derive(Clone, Debug)]
struct Entry {
    name: KeyName,
    hash: KeyHash,
    /// One permit for each further request that the name may have in progress. All keys of a name share them, and so do the
    /// keys that the name had before the file was read again.
    slots: Arc<Semaphore>,
}

/// The client that sent a request, known by its key.
#[derive(Debug)]
pub struct Client {
    name: KeyName,
    slots: Arc<Semaphore>,
    limit: usize,
    /// The slot of the request in progress.
    slot: Option<OwnedSemaphorePermit>,
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error(
        "the file of API keys {} cannot be read: {error}; ATTO_WORK_API_KEYS_FILE must name a file that exists and that \
         this process may read",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is wrong, or there is no key.
    #[error("the file of API keys {} is not valid: {error}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: InvalidFile,
    },
}

impl Keys {
    /// Reads the keys in this file. Each name may have this many `requests` in progress.
    ///
    /// # Errors
    ///
    /// [`KeysError`] if the file cannot be read, has a wrong line, or has no key.
    pub fn open(path: PathBuf, requests: NonZeroUsize) -> Result<Self, KeysError> {
        let keys = Self(Arc::new(Inner {
            path,
            requests: requests.get().min(Semaphore::MAX_PERMITS),
            entries: RwLock::new(Arc::new([])),
            seen: Mutex::default(),
        }));
        keys.read()?;
        tracing::info!(path = %keys.0.path.display(), keys = keys.count(), requests, "every request needs an API key");
        Ok(keys)
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.entries().len()
    }

    /// The client that sent these headers, or else this key in the body.
    ///
    /// # Errors
    ///
    /// [`Problem::KeyMissing`] if there is no key, [`Problem::KeyUnknown`] if neither is known.
    pub fn identify(&self, headers: &HeaderMap, in_body: Option<&str>) -> Result<Client, Problem> {
        let keys = [bearer(headers), in_body.map(str::as_bytes)];
        let mut keys = keys.into_iter().flatten().peekable();
        if keys.peek().is_none() {
            return Err(Problem::KeyMissing);
        }
        keys.find_map(|key| self.find(key))
            .ok_or(Problem::KeyUnknown)
    }

    /// The client with this key.
    fn find(&self, key: &[u8]) -> Option<Client> {
        let given = KeyHash::of(key);
        let entries = self.entries();
        let mut found = None;
        // Compares with every key, so that the time does not tell which one matches.
        for entry in entries.iter() {
            if entry.hash.matches(&given) {
                found = Some(entry);
            }
        }
        found.map(|entry| Client {
            name: entry.name.clone(),
            slots: Arc::clone(&entry.slots),
            limit: self.0.requests,
            slot: None,
        })
    }

    /// Reads the file again whenever it changes, and on every `hangup` signal. Never ends.
    pub async fn follow(self, mut hangup: Signal) {
        let mut checks = interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_demanded = tokio::select! {
                _ = checks.tick() => false,
                Some(()) = hangup.recv() => true,
            };
            let keys = self.clone();
            // The file may be on a slow or remote file system.
            let read = tokio::task::spawn_blocking(move || keys.read_if_needed(is_demanded));
            if let Err(error) = read.await {
                tracing::error!(%error, "cannot check the file of API keys for changes");
            }
        }
    }

    /// Reloads the file if `is_demanded`, or if it has changed and is no longer being written.
    fn read_if_needed(&self, is_demanded: bool) {
        let now = Stamp::of(&self.0.path);
        let is_new = self.seen().is_to_be_read(now);
        if !is_new && !is_demanded {
            return;
        }
        match self.read() {
            Ok(()) => {
                tracing::info!(path = %self.0.path.display(), keys = self.count(), "API keys reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "cannot reload the API keys; those loaded before stay in use");
            }
        }
    }

    fn read(&self) -> Result<(), KeysError> {
        let path = &self.0.path;
        // Before reading, so that the next check sees a change that is made meanwhile.
        self.seen().read = Stamp::of(path);
        let failed = |error| KeysError::Read {
            path: path.clone(),
            error,
        };
        let file = read(path).map_err(failed)?;
        let keys = file::parse(&file).map_err(|error| KeysError::Wrong {
            path: path.clone(),
            error,
        })?;
        let mut slots: HashMap<KeyName, Arc<Semaphore>> = self
            .entries()
            .iter()
            .map(|entry| (entry.name.clone(), Arc::clone(&entry.slots)))
            .collect();
        let requests = self.0.requests;
        let entries = keys.into_iter().map(|(name, hash)| {
            let slots = slots.entry(name.clone());
            let slots = Arc::clone(slots.or_insert_with(|| Arc::new(Semaphore::new(requests))));
            Entry { name, hash, slots }
        });
        let entries = entries.collect();
        *self
            .0
            .entries
            .write()
            .unwrap_or_else(PoisonError::into_inner) = entries;
        Ok(())
    }

    fn entries(&self) -> Arc<[Entry]> {
        let entries = self.0.entries.read();
        Arc::clone(&entries.unwrap_or_else(PoisonError::into_inner))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// The name of its key.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Begins the request. It is in progress until the client is dropped.
    ///
    /// # Errors
    ///
    /// [`Problem::KeyBusy`] if the name has its maximum of requests in progress.
    pub fn begin(&mut self) -> Result<(), Problem> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        self.slot = Some(slot.map_err(|_| Problem::KeyBusy { limit: self.limit })?);
        Ok(())
    }
}

/// The key in the `Authorization` header (RFC 6750, 2.1). `None` unless there is exactly one such header, with the scheme
/// `Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, key) = given.as_bytes().split_at_checked("Bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

/// The bytes of the file.
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

/// Identifies one version of a file. Symbolic links are followed, so a mounted Secret of Kubernetes changes when its link
/// points to the folder of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    /// The version of the file at this path now; `None` if there is none, or the process may not access it.
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
    fn a_file_that_is_being_written_is_not_read() {
        let version = |size| {
            Some(Stamp {
                device: 1,
                inode: 1,
                modified: (0, 0),
                changed: (0, 0),
                size,
            })
        };
        let mut seen = Seen {
            read: version(1),
            checked: version(1),
        };
        assert!(!seen.is_to_be_read(version(1)));
        // It grows between two checks, and has stayed the same at the third.
        assert!(!seen.is_to_be_read(version(0)));
        assert!(!seen.is_to_be_read(version(2)));
        assert!(seen.is_to_be_read(version(2)));
        seen.read = version(2);
        assert!(!seen.is_to_be_read(version(2)));
        // So it is with one that vanishes.
        assert!(!seen.is_to_be_read(None));
        assert!(seen.is_to_be_read(None));
    }

    #[test]
    fn a_key_is_accepted_in_one_form_only() {
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
