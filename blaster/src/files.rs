//! The files that the arguments of a run name: on this machine's disk, or brought along from another's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use payloads::Files;
use serde::{Deserialize, Serialize};

/// This machine's files.
#[derive(Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // A byte more than is allowed tells that it is too large; devices and pipes may not end at all.
        File::open(path)?.take(payloads::BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
        Ok(content)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                let name = path.to_str().ok_or_else(|| {
                    io::Error::other(format!("the name of {} is not UTF-8", path.display()))
                })?;
                paths.push(name.to_owned());
            }
        }
        Ok(paths)
    }
}

/// Files brought along, under the names that the arguments have for them. Whoever reads from it reads nothing else: arguments
/// that come from another machine cannot name files of this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    folders: BTreeMap<String, Vec<String>>,
}

impl Bundle {
    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }
}

impl Files for Bundle {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(not_along)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.folders.get(folder).cloned().ok_or_else(not_along)
    }
}

fn not_along() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it was not sent along with the run")
}

/// Reads this machine's files and keeps what was read, to be brought along.
#[derive(Debug, Default)]
pub struct Gathering {
    bundle: RefCell<Bundle>,
}

impl Gathering {
    /// All that was read.
    pub fn into_bundle(self) -> Bundle {
        self.bundle.into_inner()
    }
}

impl Files for Gathering {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let content = Disk.read(path)?;
        self.bundle.borrow_mut().files.insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let paths = Disk.list(folder)?;
        self.bundle.borrow_mut().folders.insert(folder.to_owned(), paths.clone());
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use crate::settings::{Place, Settings};

    #[test]
    fn a_bundle_holds_what_a_run_read_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("blaster-bundle-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("bodies")).unwrap();
        for (name, content) in [("bodies/a.json", "{\"a\":1}"), ("bodies/b.json", "{\"b\":\"{{uuid}}\"}")] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        let bodies = folder.join("bodies").to_string_lossy().into_owned();
        let args = Cli::parse_from(["blaster", "--body-dir", &bodies, "http://a:1/things"]).run;
        let gathering = Gathering::default();
        Settings::part(&args, 1, &gathering, &Place::whole()).unwrap();
        let bundle = gathering.into_bundle();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((bundle.files.len(), bundle.bytes()), (2, 23));
        // Elsewhere, where there are no such files.
        Settings::part(&args, 1, &bundle, &Place::whole()).unwrap();
        let args = Cli::parse_from(["blaster", "-b", "@/etc/hostname", "http://a:1/things"]).run;
        let error = Settings::part(&args, 1, &bundle, &Place::whole()).unwrap_err().to_string();
        assert!(error.contains("/etc/hostname") && error.contains("not sent along"), "{error}");
    }
}
