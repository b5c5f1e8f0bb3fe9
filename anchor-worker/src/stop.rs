//! SIGTERM and SIGINT: the worker ends after the effect under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::trouble::{Kind, Trouble};

/// How long the effect under way may take from then on. Cutting one off loses nothing: the next start finds what came of it.
pub const GRACE: Duration = Duration::from_secs(10);

/// Whether somebody wants us to stop, and what wakes whoever waits.
#[derive(Clone, Default)]
pub struct Stop {
    wanted: Arc<AtomicBool>,
    pub wake: Arc<Notify>,
    asked: Arc<Notify>,
}

impl Stop {
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Asks to stop.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        self.asked.notify_one();
    }

    /// Listens to signals from now on.
    ///
    /// # Errors
    /// `Unavailable` if the system does not let us.
    pub fn listen(&self) -> Result<(), Trouble> {
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let refused = |_| Trouble::new(Kind::Unavailable, "signals cannot be listened to");
            let mut signal = signal(kind).map_err(refused)?;
            let stop = self.clone();
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    stop.want();
                }
            });
        }
        Ok(())
    }

    /// Runs something that ends by itself soon after it was asked to stop; `None` if it did not.
    pub async fn bounded<T: Send + 'static>(
        &self,
        running: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let task = tokio::spawn(running);
        let (abort, asked) = (task.abort_handle(), self.asked.clone());
        let watch = tokio::spawn(async move {
            asked.notified().await;
            tokio::time::sleep(GRACE).await;
            abort.abort();
        });
        let result = task.await;
        watch.abort();
        result.ok()
    }
}
