//! Whose turn it is: first-in-first-out lists of connections, with removal from anywhere.
//!
//! A connection stands in at most one list. First in, first out gives every connection its share over a
//! second without counting anything.

use super::engine::ConnectionId;

/// Two queues over the same connections, linked through one array.
pub(crate) struct Rotation {
    nodes: Box<[Node]>,
    heads: [Link; 2],
}

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Open, nothing in flight.
    Idle,
    /// Open, requests in flight, room for more.
    Shared,
}

#[derive(Clone, Copy)]
struct Node {
    link: Link,
    queue: Option<Queue>,
}

/// Neighbours in a list; of a head: its first (`next`) and last (`previous`).
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
}

const NONE: u32 = u32::MAX;
const UNLINKED: Link = Link { next: NONE, previous: NONE };

impl Rotation {
    pub(crate) fn new(connections: usize) -> Self {
        Self { nodes: vec![Node { link: UNLINKED, queue: None }; connections].into(), heads: [UNLINKED; 2] }
    }

    /// The connection whose turn it is in `queue`.
    #[inline]
    pub(crate) fn first(&self, queue: Queue) -> Option<ConnectionId> {
        let first = self.heads[queue as usize].next;
        (first != NONE).then_some(first)
    }

    /// Puts `id` at the end of `queue`, or in none; where it stands there already, it keeps its place.
    #[inline]
    pub(crate) fn place(&mut self, id: ConnectionId, queue: Option<Queue>) {
        if self.nodes[id as usize].queue == queue {
            return;
        }
        self.unlink(id);
        if let Some(queue) = queue {
            self.append(id, queue);
        }
    }

    fn append(&mut self, id: ConnectionId, queue: Queue) {
        let head = &mut self.heads[queue as usize];
        let last = head.previous;
        head.previous = id;
        match last {
            NONE => head.next = id,
            last => self.nodes[last as usize].link.next = id,
        }
        self.nodes[id as usize] = Node { link: Link { next: NONE, previous: last }, queue: Some(queue) };
    }

    fn unlink(&mut self, id: ConnectionId) {
        let node = &mut self.nodes[id as usize];
        let Some(queue) = node.queue.take() else { return };
        let Link { next, previous } = node.link;
        match previous {
            NONE => self.heads[queue as usize].next = next,
            previous => self.nodes[previous as usize].link.next = next,
        }
        match next {
            NONE => self.heads[queue as usize].previous = previous,
            next => self.nodes[next as usize].link.previous = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn it_behaves_like_two_plain_queues_under_any_moves() {
        let mut rotation = Rotation::new(9);
        let mut model = [VecDeque::new(), VecDeque::new()];
        let mut state = 42_u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let id = (state >> 33) as u32 % 9;
            let queue = [None, Some(Queue::Idle), Some(Queue::Shared)][(state >> 50) as usize % 3];
            let already = queue.is_some_and(|queue| model[queue as usize].contains(&id));
            if !already {
                model.iter_mut().for_each(|list| list.retain(|&other| other != id));
                if let Some(queue) = queue {
                    model[queue as usize].push_back(id);
                }
            }
            rotation.place(id, queue);
            for queue in [Queue::Idle, Queue::Shared] {
                assert_eq!(rotation.first(queue), model[queue as usize].front().copied());
            }
        }
    }
}
