//! Writes text and values of one template into a program, each as it must be where it stands, and holds the whole against JSON.

use std::sync::Arc;

use payloads_fresh::TimeFormat;

use super::json::{Sample, Scan};
use super::program::{Draw, Op, Program, Table, Write};
use super::values::{Context, Literal};
use super::{Field, Language};
use crate::Error;
use crate::source::Source;

/// What an expression gives.
#[derive(Clone)]
pub(super) enum Value {
    Known {
        literal: Literal,
        url: bool,
    },
    Drawn {
        draw: Draw,
        /// What the number that is drawn stands for.
        of: Option<Arc<[Literal]>>,
        /// Percent-encoded wherever it stands.
        url: bool,
    },
}

/// A template on its way to a program.
pub(super) struct Emitter<'p> {
    program: &'p mut Program,
    language: Language,
    pub(super) scan: Scan,
    /// With text for every bare value, and with its real kind: what is right for both is right for every value.
    samples: [Sample; 2],
}

impl Value {
    pub(super) fn url(self) -> Self {
        match self {
            Self::Known { literal, .. } => Self::Known { literal, url: true },
            Self::Drawn { draw, of, .. } => Self::Drawn { draw, of, url: true },
        }
    }

    /// Always this.
    pub(super) fn known(literal: Literal) -> Self {
        Self::Known { literal, url: false }
    }

    /// New in every send.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Drawn { draw: Draw::Uuid | Draw::Now(_) | Draw::Seq, .. })
    }
}

impl<'p> Emitter<'p> {
    pub(super) fn new(program: &'p mut Program, language: Language) -> Self {
        let (compact, lines) = match language {
            Language::Json { compact, lines } => (compact, lines),
            _ => (false, false),
        };
        Self { program, language, scan: Scan::new(compact, lines), samples: Default::default() }
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.language, Language::Json { .. })
    }

    pub(super) fn context(&self) -> Context {
        match self.language {
            Language::Json { .. } => self.scan.context(),
            Language::Path => Context::Path,
            Language::Header => Context::Header,
            Language::Host => Context::Host,
            Language::Plain => Context::Plain,
        }
    }

    /// Text of the template's own.
    pub(super) fn text(&mut self, text: &str, at: usize) {
        if self.is_json() {
            let mut out = Vec::new();
            self.scan.push(&mut out, text);
            self.program.push_text(&out);
            for sample in &mut self.samples {
                sample.text(text, at);
            }
        } else {
            self.program.push_text(text.as_bytes());
        }
    }

    pub(super) fn op(&mut self, op: Op) {
        self.begin();
        self.program.ops.push(op);
    }

    pub(super) fn begin(&mut self) {
        let mut before = Vec::new();
        self.scan.begin(&mut before);
        self.program.push_text(&before);
    }

    /// Text that only the samples have; what is wrong with it is shown there in the source.
    pub(super) fn sample_around(&mut self, text: &str, source: usize) {
        for sample in &mut self.samples {
            sample.field(text, source);
        }
    }

    pub(super) fn sample(&mut self, context: Context, field: &Field, first: &Literal, second: &Literal) {
        for (sample, literal) in self.samples.iter_mut().zip([first, second]) {
            let mut out = Vec::new();
            literal.push(&mut out, context);
            sample.field(&String::from_utf8_lossy(&out), field.span.start);
        }
    }

    pub(super) fn value(
        &mut self,
        source: &Source,
        field: &Field,
        value: Value,
        slot: Option<usize>,
    ) -> Result<(), Error> {
        match value {
            Value::Known { literal, url } => {
                // Once is enough in a path.
                let literal = if url && self.context() != Context::Path { literal.url() } else { literal };
                self.known(source, field, &literal)
            }
            Value::Drawn { draw, of: Some(of), url } => {
                let raw = of.iter().find(|literal| literal.raw && !url).cloned();
                self.sample(self.context(), field, &Literal::text(""), &raw.unwrap_or(Literal::text("")));
                let table = self.table(source, field, &of, url)?;
                self.drawn(draw, slot, Write::Table(table));
                Ok(())
            }
            Value::Drawn { draw, of: None, url } => self.unlisted(source, field, draw, slot, url),
        }
    }

    pub(super) fn known(&mut self, source: &Source, field: &Field, literal: &Literal) -> Result<(), Error> {
        let context = self.context();
        refuse_breaking(source, field, context, literal)?;
        self.sample(context, field, &Literal::text(""), literal);
        self.begin();
        let mut out = Vec::new();
        literal.push(&mut out, context);
        self.program.push_text(&out);
        Ok(())
    }

    /// A value whose characters are known by what draws it.
    fn unlisted(
        &mut self,
        source: &Source,
        field: &Field,
        draw: Draw,
        slot: Option<usize>,
        url: bool,
    ) -> Result<(), Error> {
        let context = self.context();
        let is_text = url || draw.is_text();
        let quote = if is_text && context == Context::JsonBare { "\"" } else { "" };
        let kind = if is_text { Literal::text("") } else { Literal::raw("0") };
        self.sample(context, field, &Literal::text(""), &kind);
        let write = match draw.unsafe_in_url() {
            Unsafe::Never => Write::Plain,
            _ if context == Context::Host => {
                let what = "need what a host may be made of, this has other characters: use hex(n), int(a,b) or choice";
                return Err(source.error(field.expr.span.start, what));
            }
            _ if !url && context != Context::Path => Write::Plain,
            Unsafe::Encodable => Write::Percent,
            Unsafe::Fixed => {
                let what =
                    "need a time without a space in a URL, got now(datetime): use now(iso) or now(unix_ms)";
                return Err(source.error(field.expr.span.start, what));
            }
        };
        self.begin();
        self.program.push_text(quote.as_bytes());
        self.drawn(draw, slot, write);
        self.program.push_text(quote.as_bytes());
        Ok(())
    }

    fn drawn(&mut self, draw: Draw, slot: Option<usize>, write: Write) {
        let op = match slot {
            Some(slot) => Op::Slot { slot, write },
            None => Op::Draw { draw: self.program.push_draw(draw), write },
        };
        self.op(op);
    }

    /// A table of values as they are written here.
    pub(super) fn table(
        &mut self,
        source: &Source,
        field: &Field,
        of: &[Literal],
        url: bool,
    ) -> Result<usize, Error> {
        let context = self.context();
        let mut table = Table::default();
        for literal in of {
            refuse_breaking(source, field, context, literal)?;
            // Once is enough in a path.
            let literal = if url && context != Context::Path { &literal.url() } else { literal };
            table.push(|out| literal.push(out, context));
        }
        Ok(self.program.push_table(table))
    }

    pub(super) fn check(&self, source: &Source) -> Result<(), Error> {
        let Language::Json { lines, .. } = self.language else { return Ok(()) };
        self.samples.iter().try_for_each(|sample| sample.check(source, lines))
    }
}

/// Characters that a URL needs encoded.
enum Unsafe {
    Never,
    Encodable,
    /// They are there, and its width may not change.
    Fixed,
}

impl Draw {
    /// JSON has to quote it.
    fn is_text(&self) -> bool {
        match self {
            Self::Now(format) => matches!(format, TimeFormat::Iso | TimeFormat::DateTime),
            Self::Seq | Self::Int { .. } | Self::Decimal { .. } | Self::User => false,
            _ => true,
        }
    }

    /// A colon, as in `now(iso)`, may stand in a path and a query as it is (RFC 3986, 3.3).
    fn unsafe_in_url(&self) -> Unsafe {
        match self {
            Self::Now(TimeFormat::DateTime) => Unsafe::Fixed,
            Self::Words(_) | Self::Base64(_) => Unsafe::Encodable,
            _ => Unsafe::Never,
        }
    }
}

fn refuse_breaking(source: &Source, field: &Field, context: Context, literal: &Literal) -> Result<(), Error> {
    let Some(found) = literal.breaks(context) else { return Ok(()) };
    let what = match context {
        Context::Host => {
            format!("need what a host may be made of, {:?} holds {found:?}: remove it", literal.text)
        }
        _ => format!(
            "need a value without control characters in a header, {:?} holds {found:?}, which would break the request apart: remove it",
            literal.text
        ),
    };
    Err(source.error(field.expr.span.start, what))
}
