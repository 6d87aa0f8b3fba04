//! Which part of an image each child node covers.

use std::rc::Rc;

use narrows_format::node::{Body, Content, EntryKind, Node};

use super::Place;

/// The level of a node, and for each child the place that it covers if it is a node.
pub(super) fn of_children(node: &Node, place: &Place) -> (u8, Vec<Option<Place>>) {
    let mut places = vec![None; node.children.len()];
    let level = match (&node.body, place) {
        (Body::Tree { level, spans }, Place::Tree { to, .. }) => {
            for (at, span) in spans.iter().enumerate().take(places.len()) {
                let next = spans.get(at + 1).map(|span| Rc::from(span.first.as_slice()));
                let from = Rc::from(span.first.as_slice());
                places[at] = Some(Place::Tree { from, to: next.or_else(|| to.clone()) });
            }
            *level
        }
        (Body::ExtentTree { level, lengths }, Place::File { path, from, .. }) => {
            let mut at = *from;
            for (place, length) in places.iter_mut().zip(lengths) {
                let to = at.saturating_add(*length);
                *place = Some(Place::File { path: Rc::clone(path), from: at, to });
                at = to;
            }
            *level
        }
        (Body::Entries(entries), _) => {
            for entry in entries {
                let EntryKind::File { size, content: Content::Tree(child) } = &entry.kind else { continue };
                let Some(place) = places.get_mut(*child as usize) else { continue };
                let path = Rc::from(entry.path.as_slice());
                place.get_or_insert(Place::File { path, from: 0, to: *size });
            }
            0
        }
        _ => 0,
    };
    (level, places)
}
