//! What `as` binds, over all templates that make up one kind of request.

use std::collections::BTreeMap;

use super::{Expr, ExprKind, Field, Name, Role, Scope, Template};
use crate::Error;

/// The bound names of the templates of one kind of request, and whose users its events are.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// More than one meaning only where types of events each have their own.
    bound: BTreeMap<(Scope, String), Vec<Bound<'a>>>,
    slots: usize,
    /// How many users there are, if any template asks for one.
    pub(crate) users: Option<u64>,
    /// A request has one user rather than each event its own.
    pub(crate) user_of_request: bool,
}

/// A name and what it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Bound<'a> {
    /// Where its values are kept.
    pub(crate) slot: usize,
    /// Without its scope.
    pub(crate) name: &'a str,
    /// For how long a value stays.
    pub(crate) scope: Scope,
    pub(crate) expr: &'a Expr,
    pub(crate) template: &'a Template,
    /// Where else it is bound to the same.
    also: Vec<&'a Template>,
}

impl<'a> Names<'a> {
    /// Whatever `all` templates bind may stand in any of them; what `replaced` ones bind too, unless it means something else in
    /// `all`. `rendered` are those that make up the request. `many_events`: it has more events than one, so that what is drawn
    /// once an event means nothing outside of events.
    pub(crate) fn collect(
        all: &[&'a Template],
        replaced: &[&'a Template],
        rendered: &[&'a Template],
        many_events: bool,
    ) -> Result<Self, Error> {
        let mut names = Self { bound: BTreeMap::new(), slots: 0, users: None, user_of_request: false };
        for template in all {
            for field in template.fields() {
                names.bind(template, field)?;
                names.count_users(template, field)?;
            }
        }
        for template in replaced {
            for field in template.fields() {
                // They are not sent, so nothing in them can be wrong.
                let _ = names.bind(template, field);
                let _ = names.count_users(template, field);
            }
        }
        if names.users.is_none() {
            refuse_user_names(all)?;
        }
        names.user_of_request = rendered.iter().any(|template| asks_for_user_of_request(template));
        if many_events {
            names.part_events_from_request(rendered)?;
        }
        Ok(names)
    }

    /// What a name is bound to where it stands in `template`: there, or else the one thing it means elsewhere.
    pub(crate) fn find(&self, template: &Template, name: &Name) -> Option<Bound<'a>> {
        let meanings = self.meanings(name);
        let is_bound_here = |bound: &&Bound<'a>| {
            [bound.template].iter().chain(&bound.also).any(|each| std::ptr::eq(*each, template))
        };
        match (meanings.iter().find(is_bound_here), meanings) {
            (Some(bound), _) | (None, [bound]) => Some(bound.clone()),
            _ => None,
        }
    }

    /// It means something else in each of several types, and here it could be any.
    pub(crate) fn is_ambiguous(&self, name: &Name) -> bool {
        self.meanings(name).len() > 1
    }

    fn meanings(&self, name: &Name) -> &[Bound<'a>] {
        self.bound.get(&(name.scope, name.name.clone())).map_or(&[], Vec::as_slice)
    }

    /// Bound names as they are written.
    pub(crate) fn shown(&self) -> Vec<String> {
        let shown =
            |(scope, name): &(Scope, String)| Name { scope: *scope, name: name.clone(), at: 0 }.shown();
        self.bound.keys().map(shown).collect()
    }

    /// How many values there are to keep.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    fn bind(&mut self, template: &'a Template, field: &'a Field) -> Result<(), Error> {
        let Some(name) = &field.bind else { return Ok(()) };
        let source = &template.source;
        if let ExprKind::Name(other) = &field.expr.kind {
            let what = format!("need a field to be named, {} is a name already: use that", other.shown());
            return Err(source.error(field.expr.span.start, what));
        }
        let text = |template: &'a Template, expr: &Expr| template.source.text()[expr.span.clone()].trim();
        // Types exclude each other, so a name may mean something else in each.
        let excludes = |other: &Template| {
            name.scope == Scope::Event
                && [other.role, template.role] == [Role::Fields; 2]
                && !std::ptr::eq(other, template)
        };
        let meanings = self.bound.entry((name.scope, name.name.clone())).or_default();
        let mut is_known = false;
        for bound in meanings.iter_mut() {
            if text(bound.template, bound.expr) == text(template, &field.expr) {
                bound.also.push(template);
                is_known = true;
            } else if !excludes(bound.template) {
                let what = format!(
                    "need one meaning for {}, it is already bound to {}: choose another name",
                    name.shown(),
                    text(bound.template, bound.expr)
                );
                return Err(source.error(name.at, what));
            }
        }
        if !is_known {
            let (slot, scope, expr) = (self.slots, name.scope, &field.expr);
            meanings.push(Bound { slot, name: &name.name, scope, expr, template, also: Vec::new() });
            self.slots += 1;
        }
        Ok(())
    }

    fn count_users(&mut self, template: &'a Template, field: &'a Field) -> Result<(), Error> {
        let mut result = Ok(());
        field.expr.visit(&mut |expr| {
            let ExprKind::User(count) = &expr.kind else { return };
            let users = *self.users.get_or_insert(*count);
            if users != *count && result.is_ok() {
                let what =
                    format!("need one number of users, got user({count}) and user({users}): use the same");
                result = Err(template.source.error(expr.span.start, what));
            }
        });
        result
    }

    /// Names that only a request uses are its own; one that events use too would mean any of them.
    fn part_events_from_request(&mut self, templates: &[&'a Template]) -> Result<(), Error> {
        let uses = |of_event: bool| {
            templates
                .iter()
                .filter(move |template| template.role.is_of_event() == of_event)
                .flat_map(|template| uses(template).into_iter().map(move |name| (*template, name)))
                .filter(|(_, name)| name.scope == Scope::Event)
        };
        let in_events: Vec<&str> = uses(true).map(|(_, name)| name.name.as_str()).collect();
        for (template, name) in uses(false) {
            let Some(meanings) = self.bound.get_mut(&(Scope::Event, name.name.clone())) else { continue };
            if in_events.contains(&name.name.as_str()) {
                let what = format!(
                    "need a value of the request, {0} is drawn once an event and a batch has many: bind it as request.{0}",
                    name.name
                );
                return Err(template.source.error(name.at, what));
            }
            for bound in meanings {
                bound.scope = Scope::Request;
            }
        }
        Ok(())
    }
}

/// A user is needed outside of events, or for a value that all events of a request share.
fn asks_for_user_of_request(template: &Template) -> bool {
    template.fields().into_iter().any(|field| {
        let of_request = !template.role.is_of_event()
            || field.bind.as_ref().is_some_and(|name| name.scope == Scope::Request);
        let mut asks = field.bind.as_ref().is_some_and(|name| name.scope == Scope::User);
        field.expr.visit(&mut |expr| {
            asks |= match &expr.kind {
                ExprKind::User(_) => true,
                ExprKind::Name(name) => name.scope == Scope::User,
                _ => false,
            };
        });
        of_request && asks
    })
}

/// Names that a template binds or refers to.
fn uses(template: &Template) -> Vec<&Name> {
    let mut names = Vec::new();
    for field in template.fields() {
        names.extend(&field.bind);
        field.expr.visit(&mut |expr| {
            if let ExprKind::Name(name) = &expr.kind {
                names.push(name);
            }
        });
    }
    names
}

fn refuse_user_names(templates: &[&Template]) -> Result<(), Error> {
    for template in templates {
        if let Some(name) = uses(template).into_iter().find(|name| name.scope == Scope::User) {
            let what = format!(
                "need users for {}, there is no user(n) in any template: write {{{{user(1000)}}}} where the user's number belongs",
                name.shown()
            );
            return Err(template.source.error(name.at, what));
        }
    }
    Ok(())
}
