//! From templates to programs: names are looked up, values that are known are escaped for where they stand, and what would
//! break a request is refused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::emit::{Emitter, Value};
use super::json::Scan;
use super::names::{Bound, Names};
use super::program::{Draw, Op, Program};
use super::token::{Token, push_base64_standard};
use super::values::{Context, Literal};
use super::{Expr, ExprKind, Field, Language, Name, Piece, Role, Scope, Template, Word, parser};
use crate::nearest::did_you_mean;
use crate::source::Source;
use crate::{Error, Files, files};

/// What templates may refer to besides each other.
pub(crate) struct Environment<'a> {
    /// Constants by name.
    pub(crate) settings: &'a BTreeMap<String, Literal>,
    /// What `choice(list)` chooses from; none is empty.
    pub(crate) lists: &'a BTreeMap<String, Arc<[Literal]>>,
    /// The names of the types of events.
    pub(crate) types: &'a [String],
    /// What stands between events.
    pub(crate) separator: &'a str,
    pub(crate) files: &'a dyn Files,
    picked: RefCell<BTreeMap<String, Arc<[Literal]>>>,
}

/// Compiles the templates of one kind of request, which share their names.
pub(crate) struct Compiler<'a> {
    environment: &'a Environment<'a>,
    names: &'a Names<'a>,
    slots: Vec<SlotState>,
    /// The scope of the name whose meaning is being compiled.
    defining: Option<Scope>,
    /// Names whose meanings are being compiled, each for the one before.
    nesting: usize,
    /// Where the event has what its type adds, once the event is compiled.
    fields_in: Option<Context>,
    /// What is being compiled is built once, so that nothing in it can be new in every send.
    sealed: bool,
}

/// A bound value, as it is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) scope: Scope,
    pub(crate) draw: Draw,
    /// Of the name: a user's values differ by it.
    pub(crate) name_hash: u64,
}

/// Names within names, so that no input can exhaust the stack.
const NESTING_MAX: usize = 16;

enum SlotState {
    Unknown,
    InProgress,
    Compiled { value: Value, slot: Option<Slot> },
}

impl<'a> Environment<'a> {
    pub(crate) fn new(
        settings: &'a BTreeMap<String, Literal>,
        lists: &'a BTreeMap<String, Arc<[Literal]>>,
        types: &'a [String],
        separator: &'a str,
        files: &'a dyn Files,
    ) -> Self {
        Self { settings, lists, types, separator, files, picked: RefCell::default() }
    }

    /// The lines of a file that are not blank.
    fn pick(&self, source: &Source, file: &str) -> Result<Arc<[Literal]>, Error> {
        let path = files::join(files::folder_of(source.name()), file);
        if let Some(lines) = self.picked.borrow().get(&path) {
            return Ok(lines.clone());
        }
        let text = files::read_text(self.files, &path)?;
        let lines: Arc<[Literal]> =
            text.text().lines().filter(|line| !line.trim().is_empty()).map(Literal::text).collect();
        if lines.is_empty() {
            return Err(Error::EmptyFile(path));
        }
        self.picked.borrow_mut().insert(path, lines.clone());
        Ok(lines)
    }
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(environment: &'a Environment<'a>, names: &'a Names<'a>) -> Self {
        let slots = (0..names.slots()).map(|_| SlotState::Unknown).collect();
        Self { environment, names, slots, defining: None, nesting: 0, fields_in: None, sealed: false }
    }

    /// The bound values, once every template that refers to them is compiled.
    pub(crate) fn into_slots(self) -> Vec<Option<Slot>> {
        let slot = |state| match state {
            SlotState::Compiled { slot, .. } => slot,
            SlotState::Unknown | SlotState::InProgress => None,
        };
        self.slots.into_iter().map(slot).collect()
    }

    /// The program of a template.
    pub(crate) fn compile(&mut self, template: &Template) -> Result<Program, Error> {
        let mut program = Program::default();
        self.compile_into(template, &mut program)?;
        Ok(program)
    }

    /// Appends what a template gives to a program.
    pub(crate) fn compile_into(&mut self, template: &Template, program: &mut Program) -> Result<(), Error> {
        if template.role == Role::Fields && matches!(template.language, Language::Json { .. }) {
            return self.compile_fields(template, program);
        }
        let mut emitter = Emitter::new(program, template.language);
        self.pieces(template, &template.pieces, &mut emitter)?;
        if !template.role.is_of_event() {
            // A line break at its end is meant, where lines are.
            emitter.begin();
        }
        emitter.check(&template.source)
    }

    /// Members behind a comma; or, where the event is a string, more of that string.
    fn compile_fields(&mut self, template: &Template, program: &mut Program) -> Result<(), Error> {
        if template.source.text().trim().is_empty() {
            return Ok(());
        }
        let in_string = self.fields_in == Some(Context::JsonString);
        let (before, after) = if in_string { ("\"", "\"") } else { ("{\"\":0,", "}") };
        if !in_string {
            program.push_text(b",");
        }
        // Line breaks between members mean nothing.
        let mut emitter = Emitter::new(program, Language::Json { compact: true, lines: false });
        if in_string {
            emitter.scan = Scan::in_string();
        }
        emitter.sample_around(before, 0);
        self.pieces(template, &template.pieces, &mut emitter)?;
        emitter.sample_around(after, template.source.text().len().saturating_sub(1));
        emitter.check(&template.source)
    }

    fn pieces(
        &mut self,
        template: &Template,
        pieces: &[Piece],
        emitter: &mut Emitter<'_>,
    ) -> Result<(), Error> {
        for piece in pieces {
            match piece {
                Piece::Text(range) => emitter.text(&template.source.text()[range.clone()], range.start),
                Piece::Field(field) => self.field(template, field, emitter)?,
            }
        }
        Ok(())
    }

    fn field(&mut self, template: &Template, field: &Field, emitter: &mut Emitter<'_>) -> Result<(), Error> {
        let source = &template.source;
        if emitter.scan.is_escaped() && emitter.is_json() {
            let what = "need text before a field, got a backslash: write \\\\ for a backslash";
            return Err(source.error(field.span.start - 1, what));
        }
        if let ExprKind::Name(name) = &field.expr.kind
            && let Some(word) = template.role.word(&name.name).filter(|_| name.scope == Scope::Event)
        {
            return self.word(template, field, word, emitter);
        }
        let (value, slot) = match &field.bind {
            Some(name) => self.bound(&self.names.find(template, name).expect("all names were collected"))?,
            None => self.resolve(template, &field.expr)?,
        };
        emitter.value(source, field, value, slot)
    }

    fn word(
        &mut self,
        template: &Template,
        field: &Field,
        word: Word,
        emitter: &mut Emitter<'_>,
    ) -> Result<(), Error> {
        let types = self.environment.types;
        match word {
            Word::Type if types.is_empty() => {
                let what = "need a type, there are none: add [types.NAME], or write the type's name here";
                Err(template.source.error(field.span.start, what))
            }
            Word::Type => {
                let of: Arc<[Literal]> = types.iter().map(Literal::text).collect();
                let context = emitter.context();
                let table = emitter.table(&template.source, field, &of, false)?;
                emitter.sample(context, field, &of[0], &of[0]);
                emitter.op(Op::TypeName { table });
                Ok(())
            }
            Word::Count => {
                let (context, zero) = (emitter.context(), Literal::raw("0"));
                emitter.sample(context, field, &zero, &zero);
                emitter.op(Op::Word(word));
                Ok(())
            }
            Word::Fields => {
                let context = emitter.context();
                if self.fields_in.replace(context).is_some_and(|before| before != context) {
                    let what = "need {{fields}} either inside a string or outside, got both: leave one out";
                    return Err(template.source.error(field.span.start, what));
                }
                let sample = Literal::raw(if context == Context::JsonString { "" } else { ",\"\":0" });
                emitter.sample(context, field, &sample, &sample);
                emitter.op(Op::Word(word));
                Ok(())
            }
            Word::Event | Word::Members | Word::Events => {
                let context = emitter.context();
                if context == Context::JsonString {
                    let what = "need a place for JSON, this is inside a string: take the quotes away";
                    return Err(template.source.error(field.span.start, what));
                }
                let separator = self.environment.separator;
                let sample = Literal::raw(match word {
                    Word::Event => "{}".to_owned(),
                    Word::Members => "\"\":0".to_owned(),
                    _ => format!("{{}}{separator}{{}}"),
                });
                emitter.sample(context, field, &sample, &sample);
                emitter.op(Op::Word(word));
                Ok(())
            }
        }
    }

    /// What an expression gives, and the slot that keeps it if it is bound.
    fn resolve(&mut self, template: &Template, expr: &Expr) -> Result<(Value, Option<usize>), Error> {
        let drawn = |draw| Value::Drawn { draw, of: None, url: false };
        let one_of = |draw, of| Value::Drawn { draw, of: Some(of), url: false };
        let value = match &expr.kind {
            ExprKind::Name(name) => return self.name(template, name),
            ExprKind::Url(inner) => {
                let (value, slot) = self.resolve(template, inner)?;
                return Ok((value.url(), slot));
            }
            ExprKind::Quoted(text) => Value::known(Literal::text(text)),
            ExprKind::Uuid => drawn(Draw::Uuid),
            ExprKind::Now(format) => drawn(Draw::Now(*format)),
            ExprKind::Seq => drawn(Draw::Seq),
            ExprKind::Int { min, above } => drawn(Draw::Int { min: *min, above: *above }),
            ExprKind::Decimal { min, above, decimals } => {
                drawn(Draw::Decimal { min: *min, above: *above, decimals: *decimals })
            }
            ExprKind::Words(count) => drawn(Draw::Words(*count)),
            ExprKind::Hex(count) => drawn(Draw::Hex(*count)),
            ExprKind::User(_) => drawn(Draw::User),
            ExprKind::Choice(of) => one_of(Draw::Even(of.len()), of.as_slice().into()),
            ExprKind::Weighted(of) => {
                let weights: Vec<f64> = of.iter().map(|(_, weight)| *weight).collect();
                one_of(Draw::weighted(&weights), of.iter().map(|(literal, _)| literal.clone()).collect())
            }
            ExprKind::ChoiceOf(list) => {
                let of = self.list(&template.source, list, expr.span.start)?;
                one_of(Draw::Even(of.len()), of)
            }
            ExprKind::Pick(file) => {
                let of = self.environment.pick(&template.source, file)?;
                one_of(Draw::Even(of.len()), of)
            }
            ExprKind::Token(secret, claims) => self.token(template, secret, claims)?,
            ExprKind::Basic(user, password) => self.basic(template, user, password)?,
        };
        Ok((value, None))
    }

    fn name(&mut self, template: &Template, name: &Name) -> Result<(Value, Option<usize>), Error> {
        if let Some(bound) = self.names.find(template, name) {
            if self.defining.is_some_and(|defining| bound.scope < defining) {
                let what = format!(
                    "need a value that stays as long as the name it is a part of, {} is drawn more often: give it the same scope",
                    name.shown()
                );
                return Err(template.source.error(name.at, what));
            }
            let (value, slot) = self.bound(&bound)?;
            if self.sealed && value.is_fresh() && bound.scope != Scope::User {
                let what = format!(
                    "need a value that stays, {} is new in every send and a token or password is built once: leave it out",
                    name.shown()
                );
                return Err(template.source.error(name.at, what));
            }
            return Ok((value, slot));
        }
        match self.environment.settings.get(&name.name).filter(|_| name.scope == Scope::Event) {
            Some(setting) => Ok((Value::known(setting.clone()), None)),
            None => Err(template.source.error(name.at, self.unknown(template.role, name))),
        }
    }

    fn unknown(&self, role: Role, name: &Name) -> String {
        let shown = name.shown();
        if self.names.is_ambiguous(name) {
            return format!("{shown} is something else in each of several types: bind it in [event]");
        }
        if name.scope != Scope::Event {
            return format!(
                "nothing is named {shown}: write {{{{uuid as {shown}}}}} where its value belongs first"
            );
        }
        if self.environment.lists.contains_key(&shown) {
            return format!("{shown} is a list: write {{{{choice({shown})}}}}");
        }
        if super::is_taken(&shown) {
            return format!("{shown} cannot stand here: it is for other parts of a preset");
        }
        let mut known: Vec<String> = parser::FUNCTIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        known.extend(role.words().iter().map(|(name, _)| (*name).to_owned()));
        known.extend(self.environment.settings.keys().cloned());
        known.extend(self.names.shown());
        let hint = did_you_mean(&shown, known.iter().map(String::as_str));
        format!("there is no field, setting or name {shown}{hint}: use one of {}", known.join(", "))
    }

    fn list(&self, source: &Source, name: &str, at: usize) -> Result<Arc<[Literal]>, Error> {
        let lists = self.environment.lists;
        lists.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = lists.keys().map(String::as_str).collect();
            let hint = did_you_mean(name, known.iter().copied());
            let next = if known.is_empty() {
                "write choice('a','b'), or add it to [lists]".to_owned()
            } else {
                format!("use one of {}", known.join(", "))
            };
            source.error(at, format!("there is no list {name}{hint}: {next}"))
        })
    }

    /// The meaning of a bound name, compiled the first time it is asked for.
    fn bound(&mut self, bound: &Bound<'a>) -> Result<(Value, Option<usize>), Error> {
        let source = &bound.template.source;
        let at = bound.expr.span.start;
        match &self.slots[bound.slot] {
            SlotState::Compiled { value, slot } => {
                return Ok((value.clone(), slot.as_ref().map(|_| bound.slot)));
            }
            SlotState::InProgress => {
                return Err(source.error(at, "need a value without itself in it: remove its name from it"));
            }
            SlotState::Unknown => self.slots[bound.slot] = SlotState::InProgress,
        }
        if self.nesting == NESTING_MAX {
            let what = format!("need at most {NESTING_MAX} names within each other: use fewer");
            return Err(source.error(at, what));
        }
        self.nesting += 1;
        let outer = (self.defining.replace(bound.scope), std::mem::take(&mut self.sealed));
        let (value, inner) = self.resolve(bound.template, bound.expr)?;
        (self.defining, self.sealed) = outer;
        self.nesting -= 1;
        if inner.is_some() {
            return Err(source.error(at, "need a field to be named, this is a name already: use that"));
        }
        let slot = match &value {
            Value::Known { .. } => None,
            Value::Drawn { draw: Draw::Now(_) | Draw::Seq, .. } if bound.scope == Scope::User => {
                let what = "need a value that stays a user's, this is another in every send: bind it as request.NAME";
                return Err(source.error(at, what));
            }
            Value::Drawn { draw, .. } => {
                Some(Slot { scope: bound.scope, draw: draw.clone(), name_hash: hash(bound.name) })
            }
        };
        self.slots[bound.slot] = SlotState::Compiled { value: value.clone(), slot: slot.clone() };
        Ok((value, slot.map(|_| bound.slot)))
    }

    fn token(&mut self, template: &Template, secret: &Expr, claims: &[Piece]) -> Result<Value, Error> {
        let (Value::Known { literal: key, .. }, _) = self.resolve(template, secret)? else {
            let what = "need a secret that is always the same: quote it, or name a setting";
            return Err(template.source.error(secret.span.start, what));
        };
        let mut program = Program::default();
        let mut emitter = Emitter::new(&mut program, Language::Json { compact: true, lines: false });
        let outer = std::mem::replace(&mut self.sealed, true);
        self.pieces(template, claims, &mut emitter)?;
        self.sealed = outer;
        emitter.check(&template.source)?;
        Ok(Value::Drawn {
            draw: Draw::Token(Box::new(Token::new(key.text.as_bytes(), program))),
            of: None,
            url: false,
        })
    }

    fn basic(&mut self, template: &Template, user: &Expr, password: &Expr) -> Result<Value, Error> {
        let mut program = Program::default();
        let mut emitter = Emitter::new(&mut program, Language::Plain);
        let outer = std::mem::replace(&mut self.sealed, true);
        for (index, expr) in [user, password].into_iter().enumerate() {
            if index == 1 {
                emitter.text(":", 0);
            }
            let (value, slot) = self.resolve(template, expr)?;
            let field = Field { expr: expr.clone(), bind: None, span: expr.span.clone() };
            emitter.value(&template.source, &field, value, slot)?;
        }
        self.sealed = outer;
        Ok(match program.constant() {
            Some(known) => {
                let mut out = Vec::new();
                push_base64_standard(&mut out, known);
                Value::known(Literal::text(String::from_utf8(out).expect("base64 is ASCII")))
            }
            None => Value::Drawn { draw: Draw::Base64(Box::new(program)), of: None, url: false },
        })
    }
}

/// FNV-1a (RFC 9923).
fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
