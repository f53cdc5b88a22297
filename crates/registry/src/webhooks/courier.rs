//! Delivers the events of one endpoint: one after the other, each until it is taken or given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::WebhookOptions;
use super::endpoint::Endpoint;
use super::message::Message;
use super::queue::Queue;
use super::sender::{Outcome, Sender};

/// Runs until `stopping`, and then for as long as events wait and are taken.
pub(super) async fn run(
    endpoint: Arc<Endpoint>,
    queue: Arc<Queue>,
    sender: Arc<Sender>,
    options: WebhookOptions,
    mut stopping: watch::Receiver<bool>,
) {
    let mut kept = None;
    let mut failures = 0u32;
    let mut refusals = 0;
    loop {
        let Some(message) = queue.first() else {
            if *stopping.borrow() {
                return;
            }
            tokio::select! {
                () = queue.changed() => {}
                _ = stopping.changed() => {}
            }
            continue;
        };
        let posted = tokio::time::timeout(options.timeout, sender.post(&endpoint, &message, &mut kept)).await;
        let outcome = posted.unwrap_or_else(|_| Outcome::Later("it took too long".to_owned(), None));
        let (reason, asked) = match outcome {
            Outcome::Taken => {
                if failures > 0 {
                    tracing::info!(%endpoint, failures, "a webhook takes events again");
                }
                queue.delivered();
                (failures, refusals) = (0, 0);
                continue;
            }
            Outcome::Refused(status) => {
                refusals += 1;
                (format!("it answered {status}"), None)
            }
            Outcome::Later(reason, after) => (reason, after),
        };
        queue.failed();
        failures = failures.saturating_add(1);
        if failures == 1 {
            tracing::warn!(%endpoint, reason, "a webhook did not take an event; it is tried again");
        } else {
            tracing::debug!(%endpoint, reason, failures, "a webhook did not take an event");
        }
        if refusals >= options.refusals || is_too_old(&message, options.give_up_after) {
            tracing::warn!(%endpoint, id = &*message.id, event = &*message.event, reason, "an event was given up");
            queue.given_up();
            refusals = 0;
        }
        let pause = pause(failures, &options, random()).max(asked.unwrap_or_default().min(options.longest_pause));
        // Whoever stops has no time for endpoints that fail.
        if *stopping.borrow() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.changed() => return,
        }
    }
}

fn is_too_old(message: &Message, limit: Duration) -> bool {
    let age = Timestamp::now().duration_since(message.time);
    Duration::try_from(age).is_ok_and(|age| age > limit)
}

/// How long to wait after so many failures: twice as long each time, and up to a half less, so that servers that failed
/// together do not come back together.
fn pause(failures: u32, options: &WebhookOptions, random: u8) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(31));
    let whole = options.first_pause.saturating_mul(doubled).min(options.longest_pause);
    whole.mul_f64(0.5 + f64::from(random) / 510.0)
}

fn random() -> u8 {
    let mut byte = [128];
    // The middle will do.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_never_the_same() {
        let options = WebhookOptions::default();
        let whole = |failures| pause(failures, &options, 255).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 1000, u32::MAX].map(whole), [1, 2, 4, 256, 300, 300, 300]);
        assert_eq!(pause(2, &options, 0), Duration::from_secs(1));
        assert!(pause(2, &options, 100) < pause(2, &options, 101));
    }

    #[test]
    fn an_event_from_the_future_is_not_old() {
        let message = |time: Timestamp| {
            let text = format!(r#"{{"id":"1","event":"tag-moved","time":"{time}"}}"#);
            Message::read(text.into()).unwrap()
        };
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(!is_too_old(&message(Timestamp::now() + day), day));
        assert!(!is_too_old(&message(Timestamp::now()), day));
        assert!(is_too_old(&message(Timestamp::now() - 2 * day), day));
    }
}
