//! Requests of a preset: events in batches of one or more sizes.

use payloads_fresh::Rng;

use crate::body::shuffle;
use crate::encoding::Encoding;
use crate::error::thousands;
use crate::head::Head;
use crate::preset::Preset;
use crate::tape::{Kind, Tape};
use crate::template::Template;
use crate::template::render::{Renderer, Shape, Stream};
use crate::{Error, Extent, Files, Limits, Mix, Serialized};

/// Requests that can be sent: a shape for each size of the mix.
#[derive(Debug)]
pub(crate) struct Batches {
    preset: String,
    limits: Limits,
    mix: Mix,
    classes: Vec<String>,
    shapes: Vec<Shape>,
    encoding: Option<Encoding>,
}

/// How an attempt to write a number of requests ended.
enum Attempt {
    Written(Tape),
    /// So many requests were over the bytes wanted.
    Over(usize),
}

impl Batches {
    /// Requests of `preset`; one event each without a `mix`.
    pub(crate) fn new(
        preset: &Preset,
        head: &Head,
        path: Option<&Template>,
        mix: Option<&Mix>,
        encoding: Option<Encoding>,
        files: &dyn Files,
    ) -> Result<Self, Error> {
        let of_name = || vec![preset.info.name.clone()];
        let by_size = |mix: &Mix| mix.shares().iter().map(|share| format!("batch{}", share.events)).collect();
        let classes = mix.map_or_else(of_name, by_size);
        let mix = mix.cloned().unwrap_or_default();
        let shape = |events| {
            preset.check_batch(events)?;
            preset.shape(head, path, events, encoding, files)
        };
        let shapes = mix.shares().iter().map(|share| shape(share.events)).collect::<Result<_, _>>()?;
        Ok(Self {
            preset: preset.info.name.clone(),
            limits: preset.info.limits,
            mix,
            classes,
            shapes,
            encoding,
        })
    }

    /// Events per request.
    pub(crate) fn mix(&self) -> &Mix {
        &self.mix
    }

    /// Requests of some size have a body.
    pub(crate) fn have_bodies(&self) -> bool {
        self.shapes.iter().any(|shape| shape.body.is_some())
    }

    /// Which size most requests have.
    pub(crate) fn most_frequent_size(&self) -> u32 {
        let most = self.mix.shares().iter().rev().max_by_key(|share| share.weight);
        most.map_or(1, |share| share.events)
    }

    /// As many requests as wanted and allowed, in a seeded order; each size at least once.
    pub(crate) fn serialize(
        &self,
        stream: impl Fn() -> Stream,
        extent: Extent,
        seed: u64,
    ) -> Result<Serialized, Error> {
        if extent.asks_too_many() {
            return Err(self.too_many(&mut stream(), extent, seed)?);
        }
        let mut counts = self.mix.counts(extent.requests_max().max(1));
        loop {
            match self.write(&counts, &mut stream(), extent, seed)? {
                Attempt::Written(tape) => return Ok(tape.finish(self.classes.clone())),
                // A little less than what did fit: the next requests need not be as large.
                Attempt::Over(fitted) => counts = self.mix.counts(fitted - fitted.div_ceil(50)),
            }
        }
    }

    fn write(
        &self,
        counts: &[usize],
        stream: &mut Stream,
        extent: Extent,
        seed: u64,
    ) -> Result<Attempt, Error> {
        let total: usize = counts.iter().sum();
        let is_least = total == counts.len();
        let mut tape = Tape::new(self.encoding, total, extent.bytes, extent.bytes_max);
        let mut renderers: Vec<_> = self.shapes.iter().map(Renderer::new).collect();
        for class in order(counts, seed) {
            let events = self.mix.shares()[usize::from(class)].events;
            let renderer = &mut renderers[usize::from(class)];
            let (event_bytes_before, events_before) = (renderer.event_bytes, renderer.events);
            let body_bytes = tape.push(renderer, stream, None, Kind { class, events });
            let event_bytes = renderer.event_bytes - event_bytes_before;
            if tape.body_too_large() {
                let rendered = renderer.events - events_before;
                return Err(Error::TooLarge {
                    needed: scaled(body_bytes, rendered, f64::from(events)),
                    limit: extent.bytes_max,
                    what: "a body before it is compressed".to_owned(),
                    next: "use smaller batches".to_owned(),
                });
            }
            if !is_least && extent.bytes != usize::MAX && tape.bytes() > extent.bytes.min(extent.bytes_max) {
                if counts.len() > 1 {
                    return Ok(Attempt::Over(tape.requests().min(total - 1)));
                }
                if tape.requests() > 1 {
                    tape.truncate(tape.requests() - 1);
                    break;
                }
            }
            if tape.bytes() > extent.bytes_max {
                let rendered = renderers.iter().map(|renderer| renderer.events).sum();
                return Err(self.too_large(tape.bytes(), rendered, extent));
            }
            self.check_limits(&renderers[usize::from(class)], events, body_bytes, event_bytes)?;
            if tape.repeats_too_far() {
                return Err(Error::RepeatTooFar);
            }
        }
        Ok(Attempt::Written(tape))
    }

    /// What is said about so many requests, judged by one of each size.
    fn too_many(&self, stream: &mut Stream, extent: Extent, seed: u64) -> Result<Error, Error> {
        let bytes = match self.write(&self.mix.counts(0), stream, extent.least(), seed)? {
            Attempt::Written(tape) => tape.bytes(),
            Attempt::Over(_) => 0,
        };
        let events = self.mix.shares().iter().map(|share| u64::from(share.events)).sum();
        Ok(self.too_large(bytes, events, extent))
    }

    /// `bytes` hold so many events so far.
    fn too_large(&self, bytes: usize, events: u64, extent: Extent) -> Error {
        let wanted_all = extent.bytes == usize::MAX;
        let sizes = self.mix.shares().iter().map(|share| f64::from(share.events));
        let wanted: f64 = match wanted_all {
            true => {
                let counts = self.mix.counts(extent.requests);
                sizes.zip(counts).map(|(size, count)| size * count as f64).sum()
            }
            false => sizes.sum(),
        };
        let (what, next) = match wanted_all {
            true => ("all requests", "ask for fewer requests or smaller batches"),
            false => ("a request of each size", "use smaller batches"),
        };
        Error::TooLarge {
            // Where nearly all of it is heads, events alone say too little.
            needed: scaled(bytes, events, wanted).max(extent.bytes_max.saturating_add(1)),
            limit: extent.bytes_max,
            what: what.to_owned(),
            next: next.to_owned(),
        }
    }

    /// Refuses what the API would refuse.
    fn check_limits(
        &self,
        renderer: &Renderer<'_>,
        events: u32,
        body_bytes: usize,
        event_bytes: u64,
    ) -> Result<(), Error> {
        let largest = renderer.event_bytes_max;
        if let Some(limit) = self.limits.event_bytes.filter(|limit| largest > *limit) {
            return Err(Error::EventOverLimit {
                preset: self.preset.clone(),
                limit: thousands(limit as u64),
                bytes: thousands(largest as u64),
            });
        }
        let Some(limit) = self.limits.request_bytes.filter(|limit| body_bytes > *limit) else {
            return Ok(());
        };
        let separator = renderer.shape.separator.len();
        let around = body_bytes.saturating_sub(event_bytes as usize + (events as usize - 1) * separator);
        let fits = (limit + separator).saturating_sub(around) / (largest + separator).max(1);
        let next = match fits {
            0 => "shorten its events".to_owned(),
            fits => format!("use a batch of at most {}", thousands(fits as u64)),
        };
        Err(Error::RequestOverLimit {
            preset: self.preset.clone(),
            limit: thousands(limit as u64),
            events: thousands(events),
            bytes: thousands(body_bytes as u64),
            next,
        })
    }
}

/// What `wanted` events take if `bytes` hold so many.
fn scaled(bytes: usize, events: u64, wanted: f64) -> usize {
    bytes.max((bytes as f64 / events.max(1) as f64 * wanted) as usize)
}

/// The class of each request, so many of each, in an order that the seed chooses.
fn order(counts: &[usize], seed: u64) -> Vec<u16> {
    let of_class = |(class, count): (usize, &usize)| std::iter::repeat_n(class as u16, *count);
    let mut order: Vec<u16> = counts.iter().enumerate().flat_map(of_class).collect();
    if counts.len() > 1 {
        shuffle(&mut order, &mut Rng::new(!seed));
    }
    order
}
