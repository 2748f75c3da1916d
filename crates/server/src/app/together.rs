//! Asking together: who wants the same at the same time gets one answer.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::watch, task::JoinError};

/// The answer to a question, as soon as there is one; closed when whoever asked is gone without one.
type Awaited<V> = watch::Receiver<Option<V>>;

/// Questions that are being asked now.
type Asked<K, V> = Mutex<HashMap<K, Awaited<V>>>;

/// Questions that are being asked now. It keeps no answer: whoever comes after one asks anew.
#[derive(Debug)]
pub(super) struct Together<K: Eq + Hash, V>(Arc<Asked<K, V>>);

impl<K: Eq + Hash, V> Default for Together<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

fn lock<K, V>(asked: &Asked<K, V>) -> MutexGuard<'_, HashMap<K, Awaited<V>>> {
    // Nothing panics between two halves of a change.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one who asks: as long as this lives, others join.
struct Asking<K: Eq + Hash, V> {
    asked: Arc<Asked<K, V>>,
    key: K,
    answer: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V> Asking<K, V> {
    fn answer(self, answer: V) {
        self.answer.send_replace(Some(answer));
    }
}

impl<K: Eq + Hash, V> Drop for Asking<K, V> {
    fn drop(&mut self) {
        // Before the channel closes: whoever finds no answer in it finds the question free.
        lock(&self.asked).remove(&self.key);
    }
}

/// How someone came to a question.
enum Part<K: Eq + Hash, V, P> {
    /// He asks it, and `P` is what he took for that.
    Asks(Asking<K, V>, P),
    /// Someone else had asked it, and answered.
    Told(V),
}

impl<K: Clone + Eq + Hash, V: Clone> Together<K, V> {
    /// The answer to the question `key`: of whoever is asking it now, or of `ask` if nobody is. Only then is `may` called, and what it
    /// gives held until there is an answer. Should the one who asks be gone before that, the next one asks, if `may` lets him.
    ///
    /// # Errors
    /// What `may` says.
    pub(super) async fn ask<E, P, F: Future<Output = V>>(
        &self,
        key: K,
        may: impl FnOnce() -> Result<P, E>,
        ask: impl FnOnce() -> F,
    ) -> Result<V, E> {
        match self.come(key, may, || Ok(())).await? {
            Part::Told(answer) => Ok(answer),
            Part::Asks(asking, _held) => {
                let answer = ask().await;
                asking.answer(answer.clone());
                Ok(answer)
            }
        }
    }

    /// The same by a task, which goes on when whoever asked is gone: nobody asks again what someone joined. Who joins holds what `join`
    /// gives as long as he waits.
    ///
    /// # Errors
    /// What `may` says to the one who would ask, and `join` to the others; the task ended by itself.
    pub(super) async fn ask_by_task<E, P, J, F>(
        &self,
        key: K,
        may: impl FnOnce() -> Result<P, E>,
        join: impl Fn() -> Result<J, E>,
        ask: impl FnOnce() -> F,
    ) -> Result<V, E>
    where
        E: From<JoinError>,
        F: Future<Output = V> + Send + 'static,
        K: Send + 'static,
        V: Send + Sync + 'static,
        P: Send + 'static,
    {
        match self.come(key, may, join).await? {
            Part::Told(answer) => Ok(answer),
            Part::Asks(asking, held) => {
                let ask = ask();
                let task = async move {
                    let answer = ask.await;
                    asking.answer(answer.clone());
                    drop(held);
                    answer
                };
                Ok(tokio::spawn(task).await?)
            }
        }
    }

    async fn come<E, P, J>(
        &self,
        key: K,
        may: impl FnOnce() -> Result<P, E>,
        join: impl Fn() -> Result<J, E>,
    ) -> Result<Part<K, V, P>, E> {
        loop {
            let (mut awaited, _joined) = {
                let mut asked = lock(&self.0);
                let Some(awaited) = asked.get(&key) else {
                    let held = may()?;
                    let (answer, awaited) = watch::channel(None);
                    asked.insert(key.clone(), awaited);
                    let asked = Arc::clone(&self.0);
                    return Ok(Part::Asks(Asking { asked, key, answer }, held));
                };
                (awaited.clone(), join()?)
            };
            let answer = awaited.wait_for(Option::is_some).await;
            if let Ok(Some(answer)) = answer.as_deref() {
                return Ok(Part::Told(answer.clone()));
            }
        }
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
    use tokio::sync::{Notify, Semaphore};

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
        assert!(lock(&together.0).is_empty());
        let (again, ()) = tokio::join!(one(), async { go.notify_one() });
        assert_eq!(again, Ok(1));
    }

    #[tokio::test]
    async fn who_may_not_ask_may_join_and_who_takes_a_question_over_must_be_allowed_to() {
        let together = Together::default();
        let mut first = Box::pin(together.ask(7, || Ok::<_, &str>(()), pending::<u32>));
        assert!((&mut first).now_or_never().is_none());
        let refused = || Err::<(), _>("not you");
        let mut second = Box::pin(together.ask(7, refused, || async { 5 }));
        assert!((&mut second).now_or_never().is_none());
        let mut third = Box::pin(together.ask(7, || Ok::<_, &str>(()), || async { 6 }));
        assert!((&mut third).now_or_never().is_none());
        assert_eq!(
            together.ask(8, refused, || async { 5 }).await,
            Err("not you")
        );
        drop(first);
        assert_eq!(second.await, Err("not you"));
        assert_eq!(third.await, Ok(6));
        assert!(lock(&together.0).is_empty());
    }

    #[derive(Debug)]
    struct Ended;

    impl From<JoinError> for Ended {
        fn from(_: JoinError) -> Self {
            Self
        }
    }

    #[tokio::test]
    async fn a_task_asks_once_and_holds_its_place_though_its_asker_is_gone() {
        let together = Together::default();
        let places = Arc::new(Semaphore::new(1));
        let (asked, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let seats = Semaphore::new(1);
        let one = || {
            let may = || Arc::clone(&places).try_acquire_owned().map_err(|_| Ended);
            let join = || seats.try_acquire().map_err(|_| Ended);
            let ask = || {
                let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
                async move {
                    go.notified().await;
                    asked.fetch_add(1, SeqCst)
                }
            };
            Box::pin(together.ask_by_task(7, may, join, ask))
        };
        let mut first = one();
        assert!((&mut first).now_or_never().is_none());
        let mut second = one();
        assert!((&mut second).now_or_never().is_none());
        // One joins; the next finds no seat. The place is the question's, whoever waits for it.
        assert!(one().await.is_err());
        drop(first);
        assert_eq!(places.available_permits(), 0);
        go.notify_one();
        assert_eq!(second.await.unwrap(), 0);
        assert_eq!(asked.load(SeqCst), 1);
        assert_eq!(seats.available_permits(), 1);
        // The answer is out before the place is given back; then the next question is a new one.
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        assert!(one().await.is_err());
        drop(place);
        go.notify_one();
        assert_eq!(one().await.unwrap(), 1);
        assert!(lock(&together.0).is_empty());
    }

    #[tokio::test]
    async fn a_question_whose_task_fails_is_asked_by_the_next_one() {
        let together = Together::default();
        let free = || Ok::<_, Ended>(());
        let fails = || async { panic!("on purpose") };
        let first = together.ask_by_task(7, free, free, fails);
        let second = together.ask_by_task(7, free, free, || async { 5 });
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        assert_eq!(second.unwrap(), 5);
    }
}
