//! Waiting for several things at once.

use super::Pending;
use super::pending::{Held, wait_for_all, wait_for_any};

/// Several things that can be waited for together: a tuple of up to eight, of any types; a `Vec` or
/// an array of any length, of one type.
pub trait All {
    /// What they give, in their order.
    type Output;

    /// Waits until all are there.
    fn wait_all(self) -> Self::Output;
}

/// Waits until all of these are there, and gives what came of each, in their order.
///
/// ```
/// use dacapo::prelude::*;
/// use std::time::Duration;
///
/// let ((), answer) = wait::all((wait::after(Duration::from_secs(60)), wait::Pending::ready(42)));
/// assert_eq!(answer, 42);
///
/// let days = (1..=3).map(|day| wait::after(Duration::from_secs(day * 24 * 3600)).map(move |()| day));
/// assert_eq!(wait::all(days.collect::<Vec<_>>()), [1, 2, 3]);
/// ```
pub fn all<A: All>(of: A) -> A::Output {
    of.wait_all()
}

/// Waits until at least one of these is there, takes it out of the list (the others move up), and
/// gives the place that it had and what came of it. The others can be waited for later.
///
/// # Panics
///
/// If the list is empty: nothing would ever be there.
///
/// ```
/// use dacapo::prelude::*;
///
/// let mut children = vec![wait::Pending::ready("a"), wait::Pending::ready("b")];
/// assert_eq!(wait::any(&mut children), (0, "a"));
/// assert_eq!(children.len(), 1);
/// ```
pub fn any<T: 'static>(of: &mut Vec<Pending<T>>) -> (usize, T) {
    assert!(!of.is_empty(), "waiting for any of nothing would never end");
    let place = first(of);
    (place, of.remove(place).take())
}

/// Gives what comes of each of these, as they come, with its place in the list.
///
/// ```no_run
/// use dacapo::prelude::*;
///
/// let pages = (1..=20).map(|page| runs::child("fetch-page", page).start::<String>());
/// for (place, text) in wait::each(pages.collect()) {
///     info!("page {} has {} letters", place + 1, text.map_or(0, |text| text.len()));
/// }
/// ```
pub fn each<T: 'static>(of: Vec<Pending<T>>) -> Each<T> {
    Each { places: (0..of.len()).collect(), of }
}

/// The iterator that [`each`] makes. To take the next is to wait.
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for the next"]
pub struct Each<T> {
    /// Those that have not come, in the order of the list.
    of: Vec<Pending<T>>,
    /// The place that each of them had in the list.
    places: Vec<usize>,
}

impl<T: 'static> Iterator for Each<T> {
    type Item = (usize, T);

    fn next(&mut self) -> Option<Self::Item> {
        if self.of.is_empty() {
            return None;
        }
        let (place, value) = any(&mut self.of);
        Some((self.places.remove(place), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.of.len(), Some(self.of.len()))
    }
}

impl<T: 'static> ExactSizeIterator for Each<T> {}

/// The place of the first that is there; waits where none is.
fn first<T>(of: &mut [Pending<T>]) -> usize {
    let is_there = |of: &[Pending<T>]| of.iter().position(Pending::is_there);
    if let Some(place) = is_there(of) {
        return place;
    }
    wait_for_any(&mut of.iter_mut().map(Pending::hold).collect::<Vec<_>>());
    is_there(of).expect("the host said which is there")
}

impl<T> All for Vec<Pending<T>> {
    type Output = Vec<T>;

    fn wait_all(mut self) -> Vec<T> {
        wait_for_all(&mut self.iter_mut().map(Pending::hold).collect::<Vec<Held<'_>>>());
        self.into_iter().map(Pending::take).collect()
    }
}

impl<T, const N: usize> All for [Pending<T>; N] {
    type Output = [T; N];

    fn wait_all(mut self) -> [T; N] {
        wait_for_all(&mut self.iter_mut().map(Pending::hold).collect::<Vec<Held<'_>>>());
        self.map(Pending::take)
    }
}

macro_rules! all_of_a_tuple {
    ($($name:ident $place:tt),+) => {
        impl<$($name),+> All for ($(Pending<$name>,)+) {
            type Output = ($($name,)+);

            fn wait_all(mut self) -> Self::Output {
                wait_for_all(&mut [$(self.$place.hold()),+]);
                ($(self.$place.take(),)+)
            }
        }
    };
}

all_of_a_tuple!(A 0);
all_of_a_tuple!(A 0, B 1);
all_of_a_tuple!(A 0, B 1, C 2);
all_of_a_tuple!(A 0, B 1, C 2, D 3);
all_of_a_tuple!(A 0, B 1, C 2, D 3, E 4);
all_of_a_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
all_of_a_tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
all_of_a_tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_of_different_types_are_waited_for_together() {
        let (number, text, nothing) =
            all((Pending::ready(1), Pending::ready("one"), super::super::after(std::time::Duration::MAX)));
        assert_eq!((number, text, nothing), (1, "one", ()));
        assert_eq!(all([Pending::ready(1), Pending::ready(2)]), [1, 2]);
    }

    #[test]
    fn each_gives_the_places_in_the_list() {
        let of = ["a", "b", "c"].map(Pending::ready).into();
        assert_eq!(each(of).collect::<Vec<_>>(), [(0, "a"), (1, "b"), (2, "c")]);
        assert_eq!(each::<()>(Vec::new()).next(), None);
    }

    #[test]
    #[should_panic(expected = "never end")]
    fn any_of_nothing_never_ends() {
        any::<()>(&mut Vec::new());
    }
}
