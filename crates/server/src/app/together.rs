//! Asking together: who wants the same at the same time gets one answer.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::OnceCell;

/// Questions that are being asked now. It keeps no answer: whoever comes after one asks anew.
#[derive(Debug)]
pub(super) struct Together<K: Eq + Hash, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K: Eq + Hash, V> Default for Together<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Someone who waits for an answer; the last one to go takes the question away.
struct Waiting<'t, K: Eq + Hash, V> {
    together: &'t Together<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash, V> Drop for Waiting<'_, K, V> {
    fn drop(&mut self) {
        let mut asked = self.together.asked();
        // The map's, and this one.
        let last = Arc::strong_count(&self.cell) <= 2;
        // Once there is an answer nobody joins any more.
        if (last || self.cell.initialized())
            && let Some(there) = asked.get(&self.key)
            && Arc::ptr_eq(there, &self.cell)
        {
            asked.remove(&self.key);
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Together<K, V> {
    /// The answer to the question `key`: of whoever is asking it now, or of `ask` if nobody is and `may` lets it. Should the one who
    /// asks be gone before there is an answer, the next one asks.
    ///
    /// # Errors
    /// What `may` says.
    pub(super) async fn ask<E, F: Future<Output = V>>(
        &self,
        key: K,
        may: impl FnOnce() -> Result<(), E>,
        ask: impl FnOnce() -> F,
    ) -> Result<V, E> {
        let waiting = {
            let mut asked = self.asked();
            let cell = match asked.get(&key) {
                Some(cell) => Arc::clone(cell),
                None => {
                    may()?;
                    let cell = Arc::default();
                    asked.insert(key.clone(), Arc::clone(&cell));
                    cell
                }
            };
            Waiting {
                together: self,
                key,
                cell,
            }
        };
        Ok(waiting.cell.get_or_init(ask).await.clone())
    }
}

impl<K: Eq + Hash, V> Together<K, V> {
    fn asked(&self) -> MutexGuard<'_, HashMap<K, Arc<OnceCell<V>>>> {
        // Nothing panics between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::{
        convert::Infallible,
        future::pending,
        sync::atomic::{AtomicU32, Ordering::SeqCst},
    };
    use tokio::sync::Notify;

    const FREE: fn() -> Result<(), Infallible> = || Ok(());

    #[tokio::test]
    async fn one_asks_for_all_who_come_meanwhile_and_nothing_is_kept() {
        let (together, asked, go) = (Together::default(), AtomicU32::new(0), Notify::new());
        let ask = || async {
            let number = asked.fetch_add(1, SeqCst);
            go.notified().await;
            number
        };
        let one = || together.ask("key", FREE, &ask);
        let answers = async { tokio::join!(one(), one(), one()) };
        let ((a, b, c), ()) = tokio::join!(answers, async { go.notify_one() });
        assert_eq!([a, b, c], [Ok(0); 3]);
        assert!(together.asked().is_empty());
        let (again, ()) = tokio::join!(one(), async { go.notify_one() });
        assert_eq!(again, Ok(1));
    }

    #[tokio::test]
    async fn who_may_not_ask_may_join_and_who_goes_hands_the_question_on() {
        let together = Together::default();
        let first = together.ask(7, FREE, pending::<u32>);
        let mut first = Box::pin(first);
        assert!((&mut first).now_or_never().is_none());
        let second = together.ask(7, || Err("not you"), || async { 5 });
        let mut second = Box::pin(second);
        assert!((&mut second).now_or_never().is_none());
        let refused = together.ask(8, || Err("not you"), || async { 5 });
        assert_eq!(refused.await, Err("not you"));
        drop(first);
        assert_eq!(second.await, Ok(5));
        assert!(together.asked().is_empty());
    }
}
