//! From a preset to requests of so many events each.

use super::{Envelope, Preset};
use crate::encoding::Encoding;
use crate::error::thousands;
use crate::head::Head;
use crate::template::Template;
use crate::template::Word;
use crate::template::compile::{Compiler, Environment};
use crate::template::names::Names;
use crate::template::program::{Draw, Op, Program};
use crate::template::render::{EventPart, Shape};
use crate::{Error, Files};

impl Preset {
    /// Refuses batches that the API does not take.
    pub(crate) fn check_batch(&self, events: u32) -> Result<(), Error> {
        let (preset, asked) = (self.info.name.clone(), thousands(events));
        match self.info.limits.events {
            Some(limit) if events > limit => {
                Err(Error::BatchOverLimit { preset, limit: thousands(limit), asked })
            }
            _ if events > 1 && self.batch.is_none() => Err(Error::NoBatches { preset, asked }),
            _ => Ok(()),
        }
    }

    /// The path for requests of so many events.
    pub(crate) fn path_for(&self, events: u32) -> &Template {
        self.envelope(events).and_then(|envelope| envelope.path.as_ref()).unwrap_or(&self.path)
    }

    fn envelope(&self, events: u32) -> Option<&Envelope> {
        match (&self.single, &self.batch) {
            (Some(single), _) if events == 1 => Some(single),
            (single, None) => single.as_ref(),
            (_, batch) => batch.as_ref(),
        }
    }

    /// Requests of so many events each. `path` replaces the preset's.
    pub(crate) fn shape(
        &self,
        head: &Head,
        path: Option<&Template>,
        events: u32,
        encoding: Option<Encoding>,
        files: &dyn Files,
    ) -> Result<Shape, Error> {
        let envelope = self.envelope(events);
        let body = envelope.and_then(|envelope| envelope.body.as_ref());
        let separator = envelope.map_or("", |envelope| &envelope.separator);
        let replaces_paths = path.is_some();
        let path = path.unwrap_or_else(|| self.path_for(events));
        let types: Vec<String> = self.types.iter().map(|each| each.name.clone()).collect();
        let environment = Environment::new(&self.settings, &self.lists, &types, separator, files);
        let of_event = || self.event.iter().chain(self.types.iter().map(|each| &each.fields));
        let rendered: Vec<&Template> =
            [path].into_iter().chain(head.templates()).chain(body).chain(of_event()).collect();
        let (all, replaced) = self.all_templates(&rendered, replaces_paths);
        let names = Names::collect(&all, &replaced, &rendered, events > 1)?;
        let mut compiler = Compiler::new(&environment, &names);
        let content_type = body.map(|_| self.content_type.as_str());
        let encoding = encoding.filter(|_| body.is_some());
        let program = head.compile(&mut compiler, path, content_type, encoding)?;
        let around = body.map(|body| compiler.compile(body)).transpose()?;
        let event = match &self.event {
            Some(event) => Some(self.event_part(&mut compiler, event, around.as_ref())?),
            None => {
                refuse_event_words(around.as_ref(), body)?;
                None
            }
        };
        Ok(Shape {
            head: program,
            body: around,
            event,
            separator: separator.to_owned(),
            events,
            tells_missing_body: head.tells_missing_body(),
            slots: compiler.into_slots(),
            users: names.users,
            user_of_request: names.user_of_request,
        })
    }

    /// Those that are rendered first, then all others: whatever one of them binds, any may refer to. Apart from them those that
    /// the user may have replaced, which then may not contradict the user's own.
    fn all_templates<'a>(
        &'a self,
        rendered: &[&'a Template],
        replaces_paths: bool,
    ) -> (Vec<&'a Template>, Vec<&'a Template>) {
        let envelopes = || self.single.iter().chain(&self.batch);
        let paths = [&self.path].into_iter().chain(envelopes().filter_map(|envelope| envelope.path.as_ref()));
        let bodies = envelopes().filter_map(|envelope| envelope.body.as_ref());
        let headers = self.headers.iter().map(|header| header.template());
        let (replaced, kept): (Vec<_>, Vec<_>) = paths.partition(|_| replaces_paths);
        let all = rendered.iter().copied().chain(kept).chain(bodies).collect();
        (all, headers.chain(replaced).collect())
    }

    fn event_part(
        &self,
        compiler: &mut Compiler<'_>,
        event: &Template,
        body: Option<&Program>,
    ) -> Result<EventPart, Error> {
        let whole = compiler.compile(event)?;
        let members = match body.is_some_and(|body| body.ops.contains(&Op::Word(Word::Members))) {
            false => whole.clone(),
            true => whole.without_ends(b'{', b'}').ok_or_else(|| {
                let what = "need an event that begins with { and ends with } for {{members}}: write it so, or use {{event}}";
                event.source.error(0, what)
            })?,
        };
        let fields =
            self.types.iter().map(|each| compiler.compile(&each.fields)).collect::<Result<_, _>>()?;
        let weights: Vec<f64> = self.types.iter().map(|each| each.weight).collect();
        let type_of = (!weights.is_empty()).then(|| Draw::weighted(&weights));
        if type_of.is_none() && whole.ops.contains(&Op::Word(Word::Fields)) {
            return Err(event.source.error(0, "need types for {{fields}}, there are none: add [types.NAME]"));
        }
        Ok(EventPart { whole, members, fields, type_of })
    }
}

fn refuse_event_words(body: Option<&Program>, template: Option<&Template>) -> Result<(), Error> {
    let is_of_event = |op: &Op| matches!(op, Op::Word(Word::Event | Word::Members | Word::Events));
    match (body, template) {
        (Some(body), Some(template)) if body.ops.iter().any(is_of_event) => {
            Err(template.source.error(0, "need an [event], there is none: add it to the preset's file"))
        }
        _ => Ok(()),
    }
}
