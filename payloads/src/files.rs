//! The only way to files: whoever calls says how they are read.

use std::io;

use crate::Error;
use crate::source::Source;

/// The most bytes a file may have, and a good [`crate::Extent::bytes_max`]: what is larger would not stay in memory well.
pub const BYTES_MAX: usize = 256 << 20;

/// What a file's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `.toml`: a preset.
    Preset,
    /// `.json`: a template.
    Json,
    /// `.jsonl`: a body a line.
    Lines,
    /// Anything else: a body that is sent as it is.
    Raw,
}

impl FileKind {
    /// By what is behind the last point of a file's name, in whatever case.
    pub fn of(path: &str) -> Self {
        match extension(path).as_str() {
            "toml" => Self::Preset,
            "json" => Self::Json,
            "jsonl" => Self::Lines,
            _ => Self::Raw,
        }
    }
}

/// Reads files for this crate, which opens none itself.
pub trait Files {
    /// The whole content of a file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// The paths of the regular files in a folder, in any order, as [`Files::read`] takes them.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
}

/// No files at all: for what needs none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The content of a file that may not be empty, nor larger than [`BYTES_MAX`].
pub(crate) fn read(files: &dyn Files, path: &str) -> Result<Vec<u8>, Error> {
    let content =
        files.read(path).map_err(|error| Error::Read { path: path.to_owned(), reason: error.to_string() })?;
    check_size(path, &content)?;
    Ok(content)
}

/// The same as text.
pub(crate) fn read_text(files: &dyn Files, path: &str) -> Result<Source, Error> {
    Source::from_utf8(path, &read(files, path)?)
}

/// The paths in a folder, in the order of their names; an empty folder is an error.
pub(crate) fn list(files: &dyn Files, folder: &str) -> Result<Vec<String>, Error> {
    let mut paths = files
        .list(folder)
        .map_err(|error| Error::Read { path: folder.to_owned(), reason: error.to_string() })?;
    if paths.is_empty() {
        return Err(Error::EmptyFolder(folder.to_owned()));
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Refuses what is empty or too large.
pub(crate) fn check_size(path: &str, content: &[u8]) -> Result<(), Error> {
    match content.len() {
        0 => Err(Error::EmptyFile(path.to_owned())),
        bytes if bytes > BYTES_MAX => Err(Error::HugeFile { path: path.to_owned(), bytes, limit: BYTES_MAX }),
        _ => Ok(()),
    }
}

/// What is behind the last point of a file's name, in lower case; nothing if there is no point.
pub(crate) fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_ascii_lowercase())
}

/// The folder a file is in, to be put before a path that is relative to it: empty, or with a slash at its end.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

/// `path`, from `folder` unless it is absolute.
pub(crate) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{folder}{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_to_the_folder_of_who_names_it() {
        assert_eq!(join(folder_of("a/b/mine.toml"), "ids.txt"), "a/b/ids.txt");
        assert_eq!(join(folder_of("mine.toml"), "ids.txt"), "ids.txt");
        assert_eq!(join(folder_of("/mine.toml"), "ids.txt"), "/ids.txt");
        assert_eq!(join(folder_of("a/mine.toml"), "/tmp/ids.txt"), "/tmp/ids.txt");
    }

    #[test]
    fn what_a_file_is_is_in_its_name() {
        for (path, kind) in [
            ("p.toml", FileKind::Preset),
            ("a.b/T.JSON", FileKind::Json),
            ("rows.JsonL", FileKind::Lines),
            ("rows.ndjson", FileKind::Raw),
            ("a.json/b", FileKind::Raw),
            ("json", FileKind::Raw),
            ("", FileKind::Raw),
        ] {
            assert_eq!(FileKind::of(path), kind, "{path}");
        }
    }

    #[test]
    fn empty_and_huge_files_are_refused() {
        assert_eq!(check_size("a", b""), Err(Error::EmptyFile("a".into())));
        assert!(check_size("a", b"x").is_ok());
        let huge = check_size("a", &vec![0; BYTES_MAX + 1]).unwrap_err().to_string();
        assert_eq!(
            huge,
            "need a file of at most 268435456 bytes, a has 268435457: split it or leave lines out"
        );
    }
}
