//! Where the keyring comes from: a file, or what a command prints.

use crate::access::invalidation;
use crate::pii::error::KeyringError;
use crate::pii::settings;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

const MOST_BYTES: u64 = 1 << 20;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    File(String),
    Command(String),
}

/// Differs when the keyring may have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// Device, inode, size, and the times of the last change in nanoseconds.
    File(u64, u64, u64, i64, i64),
    /// When this process last read the server's configuration, and a number that moves when a rotation begins.
    Command(pg_sys::TimestampTz, u64),
}

impl Source {
    pub fn configured() -> Result<Source, KeyringError> {
        match (settings::file(), settings::command()) {
            (None, None) => Err(KeyringError::NotConfigured),
            (Some(_), Some(_)) => Err(KeyringError::Both),
            (Some(file), None) => Ok(Source::File(file)),
            (None, Some(command)) => Ok(Source::Command(command)),
        }
    }

    /// As messages name it. The command itself may hold a token.
    pub fn name(&self) -> String {
        match self {
            Source::File(file) => format!("file \"{file}\""),
            Source::Command(_) => "thorbis.keyring_command".into(),
        }
    }

    pub fn stamp(&self) -> Result<Stamp, KeyringError> {
        match self {
            Source::File(file) => {
                let found = std::fs::metadata(file).map_err(|error| unreadable(file, error.kind()))?;
                check(file, &found)?;
                let nanos = |s: i64, ns: i64| s.wrapping_mul(1_000_000_000).wrapping_add(ns);
                let (modified, changed) =
                    (nanos(found.mtime(), found.mtime_nsec()), nanos(found.ctime(), found.ctime_nsec()));
                Ok(Stamp::File(found.dev(), found.ino(), found.len(), modified, changed))
            }
            // SAFETY: a variable of the process.
            Source::Command(_) => Ok(Stamp::Command(unsafe { pg_sys::PgReloadTime }, invalidation::rotations())),
        }
    }

    pub fn read(&self) -> Result<Zeroizing<String>, KeyringError> {
        match self {
            Source::File(file) => read_file(file),
            Source::Command(command) => run(command),
        }
    }
}

fn unreadable(file: &str, reason: ErrorKind) -> KeyringError {
    match reason {
        ErrorKind::NotFound => KeyringError::Missing(file.into()),
        reason => KeyringError::Unreadable { file: file.into(), reason },
    }
}

fn check(file: &str, found: &Metadata) -> Result<(), KeyringError> {
    // SAFETY: reads the identity of the process.
    let own = unsafe { libc::geteuid() };
    let problem = if !Path::new(file).is_absolute() {
        "its path is not absolute"
    } else if !found.is_file() {
        "it is not a regular file"
    } else if found.uid() != own {
        "it does not belong to the server's user"
    } else if found.mode() & 0o077 != 0 {
        "others than its owner may use it"
    } else if found.len() > MOST_BYTES {
        "it is larger than a megabyte"
    } else {
        return Ok(());
    };
    Err(KeyringError::Unsafe { file: file.into(), problem })
}

fn read_file(file: &str) -> Result<Zeroizing<String>, KeyringError> {
    let failed = |error: std::io::Error| unreadable(file, error.kind());
    // What a base backup copies would carry the keys beside the data.
    // SAFETY: the server's data directory is a terminated string for the life of the process.
    let data = unsafe { CStr::from_ptr(pg_sys::DataDir) }.to_string_lossy().into_owned();
    let within = |path: &str| std::fs::canonicalize(path);
    if within(file).map_err(failed)?.starts_with(within(&data).map_err(failed)?) {
        let problem = "it is inside the data directory";
        return Err(KeyringError::Unsafe { file: file.into(), problem });
    }
    let mut open = File::open(file).map_err(failed)?;
    // Of the open file: what the path named before may have been replaced.
    check(file, &open.metadata().map_err(failed)?)?;
    let mut text = Zeroizing::new(String::with_capacity(16 << 10));
    open.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// A command that runs. Dropped, it is ended with everything it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // SAFETY: the process group is the child's own.
            unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
            let _gone = self.0.wait();
        }
    }
}

fn run(command: &str) -> Result<Zeroizing<String>, KeyringError> {
    let failed = |reason: String| KeyringError::Command(reason);
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it complains about could hold the keyring.
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut running = Running(child.map_err(|error| failed(error.kind().to_string()))?);
    let output = read_until_closed(&mut running.0).ok_or_else(|| failed("it printed nothing usable in time".into()))?;
    let status = running.0.wait().map_err(|error| failed(error.kind().to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let text = std::str::from_utf8(&output).map_err(|_| failed("its output is not UTF-8".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// None when it takes too long or prints too much. Somebody who cancels the query gets their own error.
fn read_until_closed(child: &mut Child) -> Option<Zeroizing<Vec<u8>>> {
    let mut pipe = child.stdout.take()?;
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut output = Zeroizing::new(Vec::with_capacity(16 << 10));
    let mut buffer = Zeroizing::new([0u8; 4096]);
    loop {
        pgrx::check_for_interrupts!();
        if Instant::now() > deadline || output.len() as u64 > MOST_BYTES {
            return None;
        }
        let mut ready = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor that stays open during the call.
        if unsafe { libc::poll(&mut ready, 1, 50) } <= 0 {
            continue;
        }
        match pipe.read(&mut buffer[..]) {
            Ok(0) => return Some(output),
            Ok(n) => output.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
