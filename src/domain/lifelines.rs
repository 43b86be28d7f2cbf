//! Which changes of a log belong to one row, whose key may change: a lifeline is all that happened to one row.
//!
//! A key names one row at a time, and different ones over time. A row that is deleted and made again under the same key
//! counts as the same; a row that left its key to another does not.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// What happened to a row, as far as keys are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    Insert {
        key: &'a str,
    },
    Update {
        key: &'a str,
        new_key: Option<&'a str>,
    },
    Delete {
        key: &'a str,
    },
    /// Of all rows.
    Truncate,
}

impl<'a> Event<'a> {
    fn key(self) -> Option<&'a str> {
        match self {
            Event::Insert { key } | Event::Update { key, .. } | Event::Delete { key } => Some(key),
            Event::Truncate => None,
        }
    }

    /// The key that the row had when this was over.
    pub fn last_key(self) -> Option<&'a str> {
        match self {
            Event::Update { new_key: Some(key), .. } => Some(key),
            _ => self.key(),
        }
    }
}

/// The events with the lifeline each belongs to: None for those of all rows.
pub struct Lifelines<'a> {
    events: Vec<Event<'a>>,
    lines: Vec<Option<usize>>,
}

impl<'a> Lifelines<'a> {
    /// From the events in their order.
    pub fn new(events: Vec<Event<'a>>) -> Lifelines<'a> {
        // While a statement moves many rows, a key can be that of two: who came first leaves first.
        let mut live: HashMap<&str, VecDeque<usize>> = HashMap::new();
        let mut gone: HashMap<&str, usize> = HashMap::new();
        let mut next = 0..;
        let mut line_of = |event: &Event<'a>| {
            let Some(key) = event.key() else {
                gone.extend(live.drain().filter_map(|(key, lines)| Some((key, *lines.back()?))));
                return None;
            };
            let known = live.get_mut(key).and_then(VecDeque::pop_front).or_else(|| gone.remove(key));
            let line = known.or_else(|| next.next())?;
            match *event {
                Event::Delete { key } => {
                    gone.insert(key, line);
                }
                Event::Update { new_key: Some(key), .. } => {
                    gone.remove(key);
                    live.entry(key).or_default().push_back(line);
                }
                _ => live.entry(key).or_default().push_front(line),
            }
            Some(line)
        };
        let lines = events.iter().map(&mut line_of).collect();
        Lifelines { events, lines }
    }

    fn members(&self) -> impl DoubleEndedIterator<Item = (usize, Event<'a>)> {
        self.events.iter().zip(&self.lines).filter_map(|(event, line)| Some(((*line)?, *event)))
    }

    /// The positions of what happened to every row that ever had the key.
    pub fn ever_called(&self, key: &str) -> Vec<usize> {
        let had = |event: Event| event.key() == Some(key) || event.last_key() == Some(key);
        let lines: BTreeSet<usize> = self.members().filter(|(_, e)| had(*e)).map(|(line, _)| line).collect();
        self.positions(|line| lines.contains(&line))
    }

    /// The row that has the key now, or had it last: the positions of what happened to it, and the key that it has now or
    /// had in the end.
    pub fn called(&self, key: &'a str) -> (Vec<usize>, &'a str) {
        let mut ends: HashMap<usize, &str> = HashMap::new();
        for (line, event) in self.members() {
            ends.extend(event.last_key().map(|key| (line, key)));
        }
        let has = |(line, _): &(usize, Event)| ends.get(line) == Some(&key);
        let had = |(_, event): &(usize, Event)| event.key() == Some(key) || event.last_key() == Some(key);
        let found = self.members().rev().find(has).or_else(|| self.members().rev().find(had));
        match found {
            Some((line, _)) => (self.positions(|of| of == line), ends.get(&line).copied().unwrap_or(key)),
            None => (Vec::new(), key),
        }
    }

    /// Of the events of some lines, and those of all rows in between or after.
    fn positions(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let Some(first) = self.lines.iter().position(|line| line.is_some_and(&wanted)) else { return Vec::new() };
        (first..self.lines.len()).filter(|i| self.lines[*i].is_none_or(&wanted)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+a` inserts, `a` updates, `a>b` changes the key, `-a` deletes, `!` truncates.
    fn lifelines(text: &str) -> Lifelines<'_> {
        let event = |word| match word {
            "!" => Event::Truncate,
            word => match (word.strip_prefix('+'), word.strip_prefix('-'), word.split_once('>')) {
                (Some(key), ..) => Event::Insert { key },
                (_, Some(key), _) => Event::Delete { key },
                (.., Some((key, new))) => Event::Update { key, new_key: Some(new) },
                _ => Event::Update { key: word, new_key: None },
            },
        };
        Lifelines::new(text.split(' ').map(event).collect())
    }

    fn of(text: &str, positions: &[usize]) -> String {
        let words: Vec<&str> = text.split(' ').collect();
        positions.iter().map(|i| words[*i]).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn assert_called(log: &str, key: &'static str, expected: &str, last: &str) {
        let lifelines = lifelines(log);
        let (positions, found) = lifelines.called(key);
        assert_eq!((of(log, &positions).as_str(), found), (expected, last), "{log} of {key}");
    }

    #[test]
    fn a_row_is_followed_through_its_keys() {
        let log = "+a a a>b b +x b>c x -c";
        for key in ["a", "b", "c"] {
            assert_called(log, key, "+a a a>b b b>c -c", "c");
            assert_eq!(of(log, &lifelines(log).ever_called(key)), "+a a a>b b b>c -c");
        }
        assert_called(log, "x", "+x x", "x");
        assert_called(log, "y", "", "y");
    }

    #[test]
    fn a_key_can_have_been_that_of_several_rows() {
        let log = "+a a>b +a a -b";
        assert_called(log, "a", "+a a", "a");
        assert_called(log, "b", "+a a>b -b", "b");
        assert_eq!(of(log, &lifelines(log).ever_called("a")), log);
        // Of the one that had it last, when nobody has it.
        assert_called("+a a>b +a a>c", "a", "+a a>c", "c");
        // Another row took the place of one that was deleted.
        assert_called("+b -b +a a>b b", "b", "+a a>b b", "b");
    }

    #[test]
    fn a_row_made_again_is_the_same() {
        assert_called("+a -a +a a", "a", "+a -a +a a", "a");
        assert_called("+a ! +a", "a", "+a ! +a", "a");
    }

    #[test]
    fn the_log_may_have_begun_later() {
        assert_called("a a>b", "b", "a a>b", "b");
        assert_called("-a", "a", "-a", "a");
    }

    #[test]
    fn truncation_concerns_rows_that_were_there() {
        assert_called("! +a a ! +b", "a", "+a a !", "a");
        assert_called("! +a a ! +b", "b", "+b", "b");
    }

    #[test]
    fn keys_that_move_at_once_do_not_mix() {
        let shift = "+1 +2 +3 1>2 2>3 3>4 2 3 4";
        assert_called(shift, "2", "+1 1>2 2", "2");
        assert_called(shift, "3", "+2 2>3 3", "3");
        assert_called(shift, "4", "+3 3>4 4", "4");
        let swap = "+a +b a>b b>a a b";
        assert_called(swap, "a", "+b b>a a", "a");
        assert_called(swap, "b", "+a a>b b", "b");
    }
}
