//! Finding things by several conditions at once, in the order of their ids.
//!
//! A condition is a few ranges of an index, one for each of its values, each in the order of ids. One
//! condition leads: its ranges are walked together, piece by piece, and what lies in them is looked
//! up and held against the others. Only ids are found; whoever asks reads the rows of the page.
//!
//! Which condition is to lead cannot be known beforehand: each may hold for nearly everything, or for
//! nearly nothing. Where a first step has not filled the page, and after every further one, each
//! condition is asked how far its next [`SAMPLE`] entries reach. The sparsest, which reaches farthest,
//! goes on from where the last one stopped.
//!
//! What is bounded: with one condition, a search reads about as many ids as fit on the page, for each
//! value. With several it looks at [`MAX_LOOKED_AT`] things at most, however long history is, and
//! then answers with what it has found and the place to go on from. So nothing is unbounded but the
//! number of pages that are short: where each condition alone has very many things, and hardly any
//! has both, a list has such pages. An index for every pair would have every run pay for that.

use std::collections::VecDeque;

use super::Error;
use super::page::{Page, Place};
use super::sql::{Column, Tx, Value};
use crate::model::id::{BatchId, EnvironmentId, Id};

/// Things that one search looks at, at most.
const MAX_LOOKED_AT: usize = 50_000;
/// Things that the first condition looks at before the others are asked.
const FIRST_STEP: usize = 200;
/// Things that a condition looks at before all are asked again.
const STEP: usize = 5_000;
/// Entries by whose reach conditions are compared.
const SAMPLE: usize = 1_000;
/// Ids of a range that are read at a time; the first pieces are smaller.
const MAX_PIECE: u32 = 1_000;
/// The smallest piece.
const MIN_PIECE: u32 = 16;

/// What is searched.
pub(super) struct Things {
    /// The table.
    pub(super) table: &'static str,
    /// The table of their tags.
    pub(super) tags: &'static str,
    /// The column of that table with the id of the thing.
    pub(super) tagged: &'static str,
}

/// What is asked of a thing. An empty list would be fulfilled by nothing.
pub(super) enum Condition {
    /// One of these values in a column that has an index which ends in the id.
    Column(&'static str, Vec<String>),
    /// One of these tags.
    Tag(Vec<String>),
    /// The items of this batch, whether made for it or found by a key. It leads: there are a thousand
    /// of them at most.
    Batch(BatchId),
    /// Whether this column, which has an index of the things for which it is set, is set. `false` cannot lead: it would be
    /// nearly everything.
    Flag(&'static str, bool),
}

/// A search: of what, where, and for what.
pub(super) struct Search<'c, I> {
    pub(super) things: &'static Things,
    pub(super) environment: EnvironmentId,
    /// Where there is nothing to choose by, the first leads.
    pub(super) conditions: &'c [Condition],
    pub(super) place: Place<I>,
    /// The ids between which is searched, both exclusive.
    pub(super) between: (I, I),
}

/// A statement that grows. Its first value is the environment.
struct Query {
    sql: String,
    bound: Vec<Value<'static>>,
}

impl Query {
    fn bind(&mut self, value: Value<'static>) -> String {
        self.bound.push(value);
        format!("?{}", self.bound.len())
    }
}

/// A range of the leading condition, and what was read ahead of it.
struct Range<I> {
    /// Which of the condition's values.
    value: usize,
    /// Ids, and whether the other conditions hold.
    ahead: VecDeque<(I, bool)>,
    /// What is left of it.
    between: (I, I),
    is_over: bool,
    /// How many are read next.
    piece: u32,
}

impl Condition {
    /// In how many ranges its things are.
    fn ranges(&self) -> usize {
        match self {
            Self::Column(_, values) | Self::Tag(values) => values.len(),
            Self::Batch(_) | Self::Flag(..) => 1,
        }
    }
}

impl<I> Search<'_, I>
where
    I: Id + Column,
    Value<'static>: From<I>,
{
    /// The ids of a page.
    pub(super) fn find(&self, tx: &Tx<'_>, limit: u32) -> Result<Page<I, I>, Error> {
        let wanted = limit as usize + 1;
        let mut found = Vec::new();
        let (mut between, mut looked_at) = (self.between, 0);
        let mut lead = self.leaders().first().copied();
        let mut step = FIRST_STEP.max(2 * wanted);
        loop {
            let Some(stopped_at) = self.walk(tx, lead, (between, step), (&mut found, wanted))? else {
                return Ok(Page::found(found, self.place, limit));
            };
            between = self.beyond(between, stopped_at);
            looked_at += step;
            if looked_at >= MAX_LOOKED_AT {
                return Ok(Page::cut_short(found, self.place, stopped_at));
            }
            lead = self.sparsest(tx, between)?;
            step = STEP;
        }
    }

    /// Looks at the next things of the condition that leads, until as many as are wanted were found or
    /// there are no more. Otherwise the answer is the last of as many as it may look at.
    fn walk(
        &self,
        tx: &Tx<'_>,
        lead: Option<usize>,
        (between, at_most): ((I, I), usize),
        (found, wanted): (&mut Vec<I>, usize),
    ) -> Result<Option<I>, Error> {
        let count = lead.map_or(1, |lead| self.conditions[lead].ranges());
        let piece = u32::try_from(wanted / count.max(1)).unwrap_or(MAX_PIECE).clamp(MIN_PIECE, MAX_PIECE);
        let range = |value| Range { value, ahead: VecDeque::new(), between, is_over: false, piece };
        let mut ranges: Vec<Range<I>> = (0..count).map(range).collect();
        let mut last = None;
        for _ in 0..at_most {
            let Some((id, fits)) = self.next(tx, lead, &mut ranges)? else { return Ok(None) };
            last = Some(id);
            if fits {
                found.push(id);
            }
            if found.len() == wanted {
                return Ok(None);
            }
        }
        Ok(last)
    }

    /// The next thing of all ranges, once, and whether the other conditions hold for it.
    fn next(&self, tx: &Tx<'_>, lead: Option<usize>, ranges: &mut [Range<I>]) -> Result<Option<(I, bool)>, Error> {
        for range in ranges.iter_mut().filter(|range| range.ahead.is_empty() && !range.is_over) {
            self.read_ahead(tx, lead, range)?;
        }
        let heads = ranges.iter().filter_map(|range| range.ahead.front().copied());
        let next = if self.place.is_backward() { heads.min() } else { heads.max() };
        for range in ranges {
            while next.is_some() && range.ahead.front().map(|(id, _)| *id) == next.map(|(id, _)| id) {
                range.ahead.pop_front();
            }
        }
        Ok(next)
    }

    fn read_ahead(&self, tx: &Tx<'_>, lead: Option<usize>, range: &mut Range<I>) -> Result<(), Error> {
        let mut query = Query { sql: String::new(), bound: vec![self.environment.into()] };
        self.range(&mut query, (lead, range.value), range.between);
        let most = query.bind(range.piece.into());
        query.sql.push_str(&format!(" LIMIT {most}"));
        let others: Vec<String> = (0..self.conditions.len())
            .filter(|other| Some(*other) != lead)
            .map(|other| self.test(&mut query, &self.conditions[other]))
            .collect();
        let table = self.things.table;
        if !others.is_empty() {
            // A join that keeps its left side, so that no planner begins with the other.
            let (others, range) = (others.join(" AND "), query.sql);
            query.sql = format!(
                "SELECT t.id, CASE WHEN {others} THEN 1 ELSE 0 END
                 FROM   ({range}) AS t LEFT JOIN {table} ON {table}.id = t.id"
            );
        }
        let mut ids: Vec<(I, bool)> =
            tx.rows(&query.sql, &query.bound, |row| Ok((row.column()?, others.is_empty() || row.column()?)))?;
        ids.sort_unstable();
        if !self.place.is_backward() {
            ids.reverse();
        }
        range.is_over = ids.len() < range.piece as usize;
        range.piece = (2 * range.piece).min(MAX_PIECE);
        if let Some((last, _)) = ids.last() {
            range.between = self.beyond(range.between, *last);
        }
        range.ahead = ids.into();
        Ok(())
    }

    /// The condition with the fewest things from here on, as far as samples show.
    fn sparsest(&self, tx: &Tx<'_>, between: (I, I)) -> Result<Option<usize>, Error> {
        let leaders = self.leaders();
        let mut best: Option<(I, usize)> = None;
        for lead in leaders.iter().copied().filter(|_| leaders.len() > 1) {
            let Some(reach) = self.reach(tx, lead, between)? else { return Ok(Some(lead)) };
            let is_farther = |best: I| if self.place.is_backward() { reach > best } else { reach < best };
            if best.is_none_or(|(best, _)| is_farther(best)) {
                best = Some((reach, lead));
            }
        }
        Ok(best.map_or(leaders.first().copied(), |(_, lead)| Some(lead)))
    }

    /// How far the next entries of a condition reach; `None`: to the end.
    fn reach(&self, tx: &Tx<'_>, lead: usize, between: (I, I)) -> Result<Option<I>, Error> {
        let count = self.conditions[lead].ranges().max(1);
        let mut nearest = None;
        for value in 0..count {
            let mut query = Query { sql: String::new(), bound: vec![self.environment.into()] };
            self.range(&mut query, (Some(lead), value), between);
            let skipped = query.bind(((SAMPLE / count) as u64).into());
            query.sql.push_str(&format!(" LIMIT 1 OFFSET {skipped}"));
            let reach: Option<I> = tx.row(&query.sql, &query.bound, |row| row.column())?;
            let both = nearest.into_iter().chain(reach);
            nearest = if self.place.is_backward() { both.min() } else { both.max() };
        }
        Ok(nearest)
    }

    /// The conditions that can lead.
    fn leaders(&self) -> Vec<usize> {
        if let Some(batch) = self.conditions.iter().position(|condition| matches!(condition, Condition::Batch(_))) {
            return vec![batch];
        }
        let can_lead = |at: &usize| !matches!(self.conditions[*at], Condition::Flag(_, false));
        (0..self.conditions.len()).filter(can_lead).collect()
    }

    /// What is left of a range behind `last`.
    fn beyond(&self, (above, below): (I, I), last: I) -> (I, I) {
        if self.place.is_backward() { (last, below) } else { (above, last) }
    }

    /// Begins a statement with the ids of a range of the condition that leads, in their order.
    fn range(&self, query: &mut Query, (lead, value): (Option<usize>, usize), (above, below): (I, I)) {
        let Things { table, tags, tagged } = self.things;
        let mut id = "id";
        query.sql = match lead.map(|lead| &self.conditions[lead]) {
            None | Some(Condition::Flag(_, false)) => format!("SELECT id FROM {table} WHERE environment_id = ?1"),
            Some(Condition::Column(column, values)) => {
                let value = query.bind(values[value].clone().into());
                format!("SELECT id FROM {table} WHERE environment_id = ?1 AND {column} = {value}")
            }
            Some(Condition::Tag(names)) => {
                id = tagged;
                let tag = query.bind(names[value].clone().into());
                format!("SELECT {tagged} AS id FROM {tags} WHERE environment_id = ?1 AND tag = {tag}")
            }
            Some(Condition::Batch(batch)) => {
                id = "i.run_id";
                let batch = query.bind((*batch).into());
                format!(
                    "SELECT i.run_id AS id FROM batches b JOIN batch_items i ON i.batch_id = b.id
                     WHERE b.environment_id = ?1 AND b.id = {batch}"
                )
            }
            Some(Condition::Flag(column, true)) => {
                format!("SELECT id FROM {table} WHERE environment_id = ?1 AND {column} = 1")
            }
        };
        let (above, below) = (query.bind(above.into()), query.bind(below.into()));
        let order = if self.place.is_backward() { "ASC" } else { "DESC" };
        query.sql.push_str(&format!(" AND {id} > {above} AND {id} < {below} ORDER BY {id} {order}"));
    }

    /// How a row is held against a condition that does not lead.
    fn test(&self, query: &mut Query, condition: &Condition) -> String {
        let Things { table, tags, tagged } = self.things;
        let mut any_of = |test: &dyn Fn(String) -> String, values: &[String]| {
            let any: Vec<String> = values.iter().map(|value| test(query.bind(value.clone().into()))).collect();
            format!("({})", any.join(" OR "))
        };
        match condition {
            Condition::Column(column, values) => any_of(&|value| format!("{table}.{column} = {value}"), values),
            Condition::Tag(names) => any_of(
                &|tag| {
                    format!(
                        "EXISTS (SELECT 1 FROM {tags} g
                                 WHERE g.environment_id = ?1 AND g.tag = {tag} AND g.{tagged} = {table}.id)"
                    )
                },
                names,
            ),
            // It leads.
            Condition::Batch(_) => "1 = 1".into(),
            Condition::Flag(column, true) => format!("{table}.{column} = 1"),
            Condition::Flag(column, false) => format!("{table}.{column} = 0"),
        }
    }
}
