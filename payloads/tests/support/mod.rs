//! What all tests of this crate share.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::collections::BTreeMap;
use std::io;

use payloads::fresh::Place;
use payloads::{BYTES_MAX, Error, Extent, Files, Requests, Serialized, Wish};

pub const NOW_UNIX_NS: u64 = 1_767_225_600_123_000_000;

/// Files that exist only here.
#[derive(Default)]
pub struct Folder(pub BTreeMap<String, Vec<u8>>);

impl Folder {
    pub fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self(files.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec())).into())
    }
}

impl Files for Folder {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        // Not in order, as real folders are not.
        Ok(self.0.keys().rev().filter(|path| path.starts_with(folder)).cloned().collect())
    }
}

pub fn extent(requests: usize) -> Extent {
    Extent { requests, bytes: usize::MAX, bytes_max: BYTES_MAX }
}

pub fn requests(wish: &Wish<'_>) -> Result<Requests, Error> {
    Requests::new(wish, &Folder::default())
}

/// Requests of `preset`, or why there are none.
pub fn serialize(wish: &Wish<'_>, files: &Folder, count: usize, seed: u64) -> Result<Serialized, Error> {
    Requests::new(wish, files)?.serialize("127.0.0.1:3000", extent(count), seed, NOW_UNIX_NS)
}

/// Heads and bodies.
pub fn split(serialized: &Serialized) -> Vec<(&str, &str)> {
    (0..serialized.requests.len())
        .map(|index| str::from_utf8(serialized.request(index)).unwrap().split_once("\r\n\r\n").unwrap())
        .collect()
}

pub fn bodies(serialized: &Serialized) -> Vec<&str> {
    split(serialized).into_iter().map(|(_, body)| body).collect()
}

/// The text at each place of a request.
pub fn texts<'a>(serialized: &'a Serialized, places: &[Place]) -> Vec<&'a str> {
    let text = |place: &Place| {
        let at = place.at as usize;
        str::from_utf8(&serialized.bytes[at..at + place.kind.width()]).unwrap()
    };
    places.iter().map(text).collect()
}
