//! The one file that leader and agents share: the seed of the key that vouches for both.
//!
//! It is text, so that it can be looked at and copied: comments, and 64 hexadecimal digits on a line. Like a private key of ssh it is
//! refused when others may read it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What makes two processes belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    seed: [u8; SEED_BYTES],
}

const SEED_BYTES: usize = 32;

/// Where a secret is looked for unless it is named.
pub const VARIABLE: &str = "COORDINATOR_SECRET";

/// And where, if that is not set either.
pub const FILE_DEFAULT: &str = "cluster.secret";

/// Longer is no secret of ours.
const FILE_BYTES_MAX: u64 = 4096;

const COMMENT: &str = "# Whoever has this file can make its agents send load. Copy it to leader and agents, and to nobody else.";

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// None there.
    #[error(
        "there is no secret at {path}: copy there the one that the other nodes have, or name it with --secret or ${VARIABLE}; the first is made with `coordinator secret {path}`"
    )]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// One there that should be made.
    #[error("{path} exists and is left as it is: remove it first, or choose another name")]
    Exists {
        /// Where.
        path: String,
    },
    /// Others may read it.
    #[error(
        "{path} can be read by others (mode {mode:04o}): `chmod 600 {path}`, and make a new one if others may have read it"
    )]
    Open {
        /// Where.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// Something else is there.
    #[error("{path} holds no secret of a coordinator: want {} hexadecimal digits on a line", SEED_BYTES * 2)]
    Malformed {
        /// Where.
        path: String,
    },
    /// The system says no.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// Read or write.
        what: &'static str,
        /// Where.
        path: String,
        /// What it said.
        error: io::Error,
    },
}

impl Secret {
    /// A new one, unlike any other.
    pub fn random() -> Self {
        let mut seed = [0; SEED_BYTES];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut seed)
            .expect("the kernel's random numbers are always there");
        Self { seed }
    }

    /// Where a secret is, when the command line names it, or not.
    pub fn path(named: Option<&Path>) -> PathBuf {
        named
            .map(Path::to_owned)
            .or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from))
            .unwrap_or_else(|| FILE_DEFAULT.into())
    }

    /// Writes it to a new file that only its owner may read.
    pub fn write_new(&self, path: &Path) -> Result<(), SecretError> {
        let name = || path.display().to_string();
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SecretError::Exists { path: name() },
            _ => SecretError::Io { what: "write", path: name(), error },
        })?;
        writeln!(file, "{COMMENT}\n{}", self.digits())
            .and_then(|()| file.sync_all())
            .map_err(|error| SecretError::Io { what: "write", path: name(), error })
    }

    /// Reads it from a file that nobody else may read.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let name = || path.display().to_string();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => SecretError::Missing { path: name() },
            _ => SecretError::Io { what: "read", path: name(), error },
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        // A pipe or a mount of a secret store has modes of its own.
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            return Err(SecretError::Open { path: name(), mode: metadata.mode() & 0o7777 });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => SecretError::Malformed { path: name() },
            _ => failed(error),
        })?;
        Self::parse(&text).ok_or_else(|| SecretError::Malformed { path: name() })
    }

    /// Reads it from the first line of what whoever started this process says; [`Self::write_line`] is the other end.
    pub fn read_line(mut from: impl BufRead) -> Result<Self, SecretError> {
        let path = "standard input";
        let mut line = String::new();
        let read = from.by_ref().take(FILE_BYTES_MAX).read_line(&mut line);
        read.map_err(|error| SecretError::Io { what: "read", path: path.to_owned(), error })?;
        Self::parse(&line).ok_or_else(|| SecretError::Malformed { path: path.to_owned() })
    }

    /// Says it to a child.
    pub fn write_line(&self, mut to: impl Write) -> io::Result<()> {
        writeln!(to, "{}", self.digits())
    }

    fn digits(&self) -> String {
        self.seed.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let digits = lines.next().filter(|line| line.len() == SEED_BYTES * 2 && line.is_ascii())?;
        let mut seed = [0; SEED_BYTES];
        for (byte, at) in seed.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        lines.next().is_none().then_some(Self { seed })
    }

    /// The seed of the key.
    pub(crate) fn seed(&self) -> &[u8; SEED_BYTES] {
        &self.seed
    }
}

/// Never shows it.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_path(claim: impl Fn(&Path)) {
        let folder = std::env::temp_dir().join(format!("coordinator-{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s");
        let _ = std::fs::remove_file(&path);
        claim(&path);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_written_secret_is_its_owners_alone_and_reads_back() {
        with_path(|path| {
            let secret = Secret::random();
            secret.write_new(path).unwrap();
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
            assert!(Secret::read(path).unwrap() == secret);
            assert!(secret != Secret::random());
            assert!(matches!(secret.write_new(path), Err(SecretError::Exists { .. })));
        });
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        with_path(|path| {
            Secret::random().write_new(path).unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
            let error = Secret::read(path).unwrap_err().to_string();
            assert!(error.contains("(mode 0640)") && error.contains("chmod 600"), "{error}");
        });
    }

    #[test]
    fn what_is_no_secret_is_told_so() {
        let digits = "ab".repeat(32);
        assert!(Secret::parse(&format!("# x\n\n {digits}\n")).is_some());
        for wrong in
            ["", "# only", &digits[1..], &digits.replace('a', "g"), &format!("{digits}\n{digits}"), "é"]
        {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{:?}", Secret::random()), "Secret(…)");
    }
}
