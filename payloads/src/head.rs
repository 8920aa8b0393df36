//! All of a request but its body: request line and headers, checked once, so that nothing a user typed can break a request
//! apart or make it look like two (RFC 9112, 11.2).

use crate::Error;
use crate::encoding::Encoding;
use crate::source::Source;
use crate::template::compile::Compiler;
use crate::template::escape::push_percent;
use crate::template::program::{Op, Program};
use crate::template::values::{breaks_header, host_breaks};
use crate::template::{Language, Role, Template};

const USER_AGENT: &str = concat!("blaster/", env!("CARGO_PKG_VERSION"));

/// Headers whose business is where the request ends.
const FRAMING: [&str; 2] = ["Content-Length", "Transfer-Encoding"];

/// Methods are case-sensitive (RFC 9110, 9.1); these are what somebody who typed `post` meant.
const KNOWN_METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Method and headers that can be sent. Paths differ by what is sent, and come in when it is compiled.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    method: String,
    headers: Vec<Header>,
}

/// A header that can be sent.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    name: String,
    value: Template,
}

impl Header {
    /// `Name: value` with a template as value. Spaces and tabs around the value are no part of it; an empty one is sent as such.
    pub(crate) fn parse(line: &Source) -> Result<Self, Error> {
        let text = line.text();
        let (name, value) = text.split_once(':').ok_or_else(|| Error::HeaderShape(text.to_owned()))?;
        if !is_token(name) {
            return Err(Error::HeaderName(name.to_owned()));
        }
        if let Some(framing) = FRAMING.iter().find(|framing| framing.eq_ignore_ascii_case(name)) {
            return Err(Error::Framing((*framing).to_owned()));
        }
        let trimmed = value.trim_matches([' ', '\t']);
        let start = name.len() + 1 + (value.len() - value.trim_start_matches([' ', '\t']).len());
        let is_host = name.eq_ignore_ascii_case("Host");
        let language = if is_host { Language::Host } else { Language::Header };
        let value = Template::parse(line.part(start..start + trimmed.len()), language, Role::Request)?;
        let header = Self { name: name.to_owned(), value };
        if is_host {
            header.check_host()?
        } else {
            header.check_value()?
        }
        Ok(header)
    }

    /// Its value.
    pub(crate) fn template(&self) -> &Template {
        &self.value
    }

    /// Whether this is the header `name`, in whatever case (RFC 9110, 5.1).
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn check_value(&self) -> Result<(), Error> {
        match self.value.texts().find_map(|(_, text)| text.chars().find(|c| breaks_header(*c))) {
            Some(found) => Err(Error::HeaderValue { name: self.name.clone(), found }),
            None => Ok(()),
        }
    }

    fn check_host(&self) -> Result<(), Error> {
        let whole = self.value.source.text();
        if whole.is_empty() || self.value.texts().any(|(_, text)| host_breaks(text).is_some()) {
            return Err(Error::Host(whole.to_owned()));
        }
        Ok(())
    }
}

impl Head {
    /// Of `own`, those that also `ours` has replace it; then all of `own` follow in their order.
    pub(crate) fn new(method: &str, ours: &[Header], own: Vec<Header>) -> Result<Self, Error> {
        let method = checked_method(method)?;
        let kept = ours.iter().filter(|header| !own.iter().any(|other| other.is(&header.name)));
        let headers: Vec<Header> = kept.cloned().chain(own.iter().cloned()).collect();
        if headers.iter().filter(|header| header.is("Host")).count() > 1 {
            return Err(Error::HostTwice);
        }
        Ok(Self { method, headers })
    }

    /// The method as it is sent.
    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    /// Whether answers to this have no body whatever their headers say: `HEAD` (RFC 9112, 6.3).
    pub(crate) fn answers_without_body(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether a missing body has to be told as a length of 0, which it has for the methods that usually come with one
    /// (RFC 9110, 8.6).
    pub(crate) fn tells_missing_body(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
    }

    /// The templates in it.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.headers.iter().map(Header::template)
    }

    /// All that stands before the length of the body. `content_type` and `encoding` are told unless a header does already.
    pub(crate) fn compile(
        &self,
        compiler: &mut Compiler<'_>,
        path: &Template,
        content_type: Option<&str>,
        encoding: Option<Encoding>,
    ) -> Result<Program, Error> {
        let mut program = Program::default();
        let has = |name: &str| self.headers.iter().any(|header| header.is(name));
        program.push_text(format!("{} ", self.method).as_bytes());
        compiler.compile_into(path, &mut program)?;
        program.push_text(b" HTTP/1.1\r\nHost: ");
        match self.headers.iter().find(|header| header.is("Host")) {
            Some(host) => compiler.compile_into(&host.value, &mut program)?,
            None => program.ops.push(Op::Host),
        }
        program.push_text(b"\r\n");
        if !has("User-Agent") {
            program.push_text(format!("User-Agent: {USER_AGENT}\r\n").as_bytes());
        }
        for header in self.headers.iter().filter(|header| !header.is("Host")) {
            program.push_text(format!("{}: ", header.name).as_bytes());
            compiler.compile_into(&header.value, &mut program)?;
            program.push_text(b"\r\n");
        }
        if let Some(content_type) = content_type.filter(|_| !has("Content-Type")) {
            program.push_text(format!("Content-Type: {content_type}\r\n").as_bytes());
        }
        if let Some(encoding) = encoding.filter(|_| !has("Content-Encoding")) {
            program.push_text(format!("Content-Encoding: {encoding}\r\n").as_bytes());
        }
        Ok(program)
    }
}

/// The method as it is sent.
pub(crate) fn checked_method(method: &str) -> Result<String, Error> {
    if !is_token(method) {
        return Err(Error::Method(method.to_owned()));
    }
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(Error::Connect);
    }
    let known = KNOWN_METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method));
    Ok(known.unwrap_or(method).to_owned())
}

/// Refuses what cannot stand in a `Host` header.
pub(crate) fn check_host(host: &str) -> Result<(), Error> {
    if host.is_empty() || host_breaks(host).is_some() {
        return Err(Error::Host(host.to_owned()));
    }
    Ok(())
}

/// A path with its query. Refuses what would end the request line early or never arrive (a fragment), and what may not be sent
/// unencoded. Printable ASCII that RFC 3986 would rather see encoded passes: servers take it, and some tests are about it.
pub(crate) fn path(source: Source) -> Result<Template, Error> {
    let path = Template::parse(source, Language::Path, Role::Request)?;
    let whole = path.source.text();
    if !path.texts().next().is_some_and(|(at, text)| at == 0 && text.starts_with('/')) {
        return Err(Error::PathStart(whole.to_owned()));
    }
    for (start, text) in path.texts() {
        if let Some((at, found)) = text.char_indices().find(|(_, c)| !c.is_ascii_graphic() || *c == '#') {
            let mut encoded = Vec::new();
            push_percent(&mut encoded, found.encode_utf8(&mut [0; 4]));
            let encoded = String::from_utf8(encoded).expect("percent-encoded text is ASCII");
            return Err(Error::Path { path: whole.to_owned(), found, at: start + at, encoded });
        }
    }
    Ok(path)
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}
