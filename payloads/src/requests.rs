//! From what a user asked for to requests: everything is parsed and checked here, before anything is sent.

use std::fmt;

use crate::batches::Batches;
use crate::body::{Bodies, Own};
use crate::head::{self, Head, Header};
use crate::preset::Preset;
use crate::source::Source;
use crate::template::Template;
use crate::template::render::Stream;
use crate::{Encoding, Error, Extent, Files, Mix, Serialized, Shares};

/// What to send, as it was typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// An embedded preset's name, or the path of a preset's file (it ends in `.toml` or has a slash in it).
    pub preset: Option<&'a str>,
    /// Words of the preset with their new values.
    pub settings: &'a [(String, String)],
    /// Events a request carries; one if absent.
    pub mix: Option<&'a Mix>,
    /// Which types of events occur; as the preset has it if absent.
    pub shares: Option<&'a Shares>,
    /// The method; the preset's, or `POST` with a body and `GET` without.
    pub method: Option<&'a str>,
    /// The path with its query, a template; the preset's, or `/`.
    pub path: Option<&'a str>,
    /// `Name: value`, the value a template. They replace headers of the preset's, and ours.
    pub headers: &'a [String],
    /// A body of one's own, as typed: text, or `@FILE`.
    pub body: Option<&'a str>,
    /// A folder whose files are the bodies.
    pub body_folder: Option<&'a str>,
    /// Lines and files go out in a seeded random order instead of their own.
    pub shuffle: bool,
    /// How bodies are compressed, if they are.
    pub encoding: Option<Encoding>,
}

/// Requests that can be sent: parsed and checked.
pub struct Requests {
    head: Head,
    path: String,
    encoding: Option<Encoding>,
    content: Content,
}

enum Content {
    Preset {
        name: String,
        ok: Option<String>,
        acknowledged: Option<String>,
        note: Option<String>,
        batches: Batches,
    },
    Own(Own),
}

impl Requests {
    /// Everything that can be known to be wrong with a wish is an error here; files are read now and not again.
    pub fn new(wish: &Wish<'_>, files: &dyn Files) -> Result<Self, Error> {
        match wish.preset {
            Some(_) if wish.body.is_some() || wish.body_folder.is_some() => Err(Error::PresetAndBody),
            Some(name) => Self::of_preset(Preset::find(name, files)?, wish, files),
            None => Self::own(wish, files),
        }
    }

    /// Requests of a preset.
    pub(crate) fn of_preset(mut preset: Preset, wish: &Wish<'_>, files: &dyn Files) -> Result<Self, Error> {
        preset.set(wish.settings)?;
        if let Some(shares) = wish.shares {
            preset.weigh(shares)?;
        }
        let method = wish.method.unwrap_or(&preset.info.method);
        let head = Head::new(method, preset.headers(), own_headers(wish)?)?;
        let path = own_path(wish)?;
        let batches = Batches::new(&preset, &head, path.as_ref(), wish.mix, wish.encoding, files)?;
        if wish.encoding.is_some() && !batches.have_bodies() {
            return Err(Error::NothingToCompress);
        }
        let shown = path.as_ref().unwrap_or_else(|| preset.path_for(batches.most_frequent_size()));
        Ok(Self {
            head,
            path: shown.source.text().to_owned(),
            encoding: wish.encoding,
            content: Content::Preset {
                name: preset.info.name,
                ok: preset.info.ok,
                acknowledged: preset.info.acknowledged,
                note: preset.info.note,
                batches,
            },
        })
    }

    fn own(wish: &Wish<'_>, files: &dyn Files) -> Result<Self, Error> {
        for (is_there, what) in [
            (wish.mix.is_some(), "--batch"),
            (wish.shares.is_some(), "--events"),
            (!wish.settings.is_empty(), "--set"),
        ] {
            if is_there {
                return Err(Error::OnlyPresets(what));
            }
        }
        let bodies = match (wish.body, wish.body_folder) {
            (Some(_), Some(_)) => return Err(Error::BodyAndFolder),
            (Some(body), None) => Bodies::typed(body, files)?,
            (None, Some(folder)) => Bodies::folder(folder, files)?,
            (None, None) => Bodies::none(),
        };
        let has_no_body = bodies.is_none();
        let default_method = if has_no_body { "GET" } else { "POST" };
        let head = Head::new(wish.method.unwrap_or(default_method), &[], own_headers(wish)?)?;
        let path = match own_path(wish)? {
            Some(path) => path,
            None => head::path(Source::new("--path", "/"))?,
        };
        let own = bodies.compile(&head, &path, wish.shuffle, wish.encoding, files)?;
        if wish.encoding.is_some() && has_no_body {
            return Err(Error::NothingToCompress);
        }
        let path = path.source.text().to_owned();
        Ok(Self { head, path, encoding: wish.encoding, content: Content::Own(own) })
    }

    /// The method as it is sent.
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// The path as a template; of a preset that of most requests.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The statuses the preset counts as ok, as `--expect` takes them.
    pub fn ok(&self) -> Option<&str> {
        match &self.content {
            Content::Preset { ok, .. } => ok.as_deref(),
            Content::Own(_) => None,
        }
    }

    /// The key of the number in an ok answer's JSON that says how many events were taken.
    pub fn acknowledged(&self) -> Option<&str> {
        match &self.content {
            Content::Preset { acknowledged, .. } => acknowledged.as_deref(),
            Content::Own(_) => None,
        }
    }

    /// Whether answers have no body whatever their headers say: `HEAD` (RFC 9112, 6.3). Who reads them must know.
    pub fn answers_without_body(&self) -> bool {
        self.head.answers_without_body()
    }

    /// Events a request carries on average; `None` for requests of the user's own, whose meaning is unknown.
    pub fn mean_events(&self) -> Option<f64> {
        match &self.content {
            Content::Preset { batches, .. } => Some(batches.mix().mean_events()),
            Content::Own(_) => None,
        }
    }

    /// For the summary: `events, 1 per request`, or the method.
    pub fn describe(&self) -> String {
        let what = match &self.content {
            Content::Preset { name, batches, .. } => format!("{name}, {} per request", batches.mix()),
            Content::Own(_) => self.method().to_owned(),
        };
        match self.encoding {
            Some(encoding) => format!("{what}, {encoding}"),
            None => what,
        }
    }

    /// How bodies are compressed, if they are.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// What the preset wants its user to know.
    pub fn note(&self) -> Option<&str> {
        match &self.content {
            Content::Preset { note, .. } => note.as_deref(),
            Content::Own(_) => None,
        }
    }

    /// What a user most likely did not mean, with the next step: a body that holds a field and is sent as it is.
    pub fn hint(&self) -> Option<String> {
        match &self.content {
            Content::Preset { .. } => None,
            Content::Own(own) => own.hint.clone(),
        }
    }

    /// Whole requests to `host` (what the `Host` header says). The same arguments give the same bytes: all shards share one tape,
    /// and what they send differs by its fresh fields.
    ///
    /// Of a mixture, each size has exactly its share of the requests, their sum permitting; of lines and files each is there as
    /// often as the others. An API's limits of bytes are held to here, since sizes are drawn.
    pub fn serialize(
        &self,
        host: &str,
        extent: Extent,
        seed: u64,
        now_unix_ns: u64,
    ) -> Result<Serialized, Error> {
        head::check_host(host)?;
        // Places are 32 bits wide.
        let extent = Extent { bytes_max: extent.bytes_max.min(u32::MAX as usize), ..extent };
        let stream = || Stream::new(seed, now_unix_ns, host);
        match &self.content {
            Content::Preset { batches, .. } => batches.serialize(stream, extent, seed),
            Content::Own(own) => own.serialize(&mut stream(), extent, seed),
        }
    }
}

impl fmt::Debug for Requests {
    /// Without bodies and tables, which may be of any size, and without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("method", &self.method())
            .field("path", &self.path)
            .field("describe", &self.describe())
            .finish_non_exhaustive()
    }
}

fn own_headers(wish: &Wish<'_>) -> Result<Vec<Header>, Error> {
    let headers: Vec<Header> = wish
        .headers
        .iter()
        .map(|line| Header::parse(&Source::new("--header", line)))
        .collect::<Result<_, _>>()?;
    match wish.encoding {
        Some(encoding) if headers.iter().any(|header| header.is("Content-Encoding")) => {
            Err(Error::EncodingTwice { encoding: encoding.to_string() })
        }
        _ => Ok(headers),
    }
}

fn own_path(wish: &Wish<'_>) -> Result<Option<Template>, Error> {
    wish.path.map(|path| head::path(Source::new("--path", path))).transpose()
}
