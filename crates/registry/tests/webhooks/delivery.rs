//! When an event is told, and how often.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;

use crate::receiver::{FINE, Receiver, receive, status};
use crate::{SECRET, counts, endpoint, push, quick, telling, until};

#[tokio::test]
async fn what_is_not_taken_is_told_again_in_order() {
    // Too long, a failure, a redirect, an answer that makes no sense, too busy: all of it passes.
    let receiver = Receiver::start(|number, post| match number {
        0 => None,
        1 => status(500),
        2 => Some("HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned()),
        3 => Some("nonsense\r\n\r\n".to_owned()),
        4 => status(429),
        _ if number % 3 == 0 => status(503),
        _ => {
            assert_eq!(post.path, "/hook");
            Some(FINE.to_owned())
        }
    })
    .await;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/hook"))], quick()).await;
    let digests = push(&registry, "v1", 0..10).await;
    until(&webhooks, |counts| counts.delivered == 20).await;
    assert_eq!((counts(&webhooks).given_up, counts(&webhooks).dropped), (0, 0));
    let posts = receiver.posts();
    assert!(posts.iter().all(|post| post.path == "/hook" && post.is_signed_with(SECRET)));
    // Each is the same to the letter each time, and none overtakes another.
    let mut bodies: Vec<_> = posts.iter().map(|post| post.body.clone()).collect();
    assert!(bodies.len() > 25, "{}", bodies.len());
    bodies.dedup();
    let told: Vec<Value> = bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let moved: Vec<_> = told.iter().filter_map(|event| event["to"].as_str()).collect();
    assert_eq!((bodies.len(), moved), (20, digests.iter().map(String::as_str).collect()));
}

#[tokio::test]
async fn what_is_refused_for_what_it_is_does_not_hold_up_what_comes_after() {
    let receiver =
        Receiver::start(
            |_, post| {
                if post.json()["event"] == "manifest-pushed" { status(422) } else { Some(FINE.to_owned()) }
            },
        )
        .await;
    let mut options = quick();
    options.refusals = 3;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], options).await;
    push(&registry, "v1", 0..2).await;
    until(&webhooks, |counts| counts.delivered == 2).await;
    let counts = counts(&webhooks);
    assert_eq!((counts.given_up, counts.failed, counts.waiting), (2, 6, 0));
    let events: Vec<_> =
        receiver.posts().iter().map(|post| post.json()["event"].as_str().unwrap().to_owned()).collect();
    let (pushed, moved) = ("manifest-pushed", "tag-moved");
    assert_eq!(events, [pushed, pushed, pushed, moved, pushed, pushed, pushed, moved]);
}

#[tokio::test]
async fn an_event_becomes_too_old() {
    let receiver = Receiver::start(|number, _| if number < 3 { status(500) } else { Some(FINE.to_owned()) }).await;
    let mut options = quick();
    options.give_up_after = Duration::ZERO;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], options).await;
    push(&registry, "v1", 0..2).await;
    until(&webhooks, |counts| counts.waiting == 0 && counts.given_up + counts.delivered == 4).await;
    assert_eq!((counts(&webhooks).given_up, counts(&webhooks).delivered), (3, 1));
}

#[tokio::test]
async fn a_slow_endpoint_delays_neither_others_nor_the_registry() {
    let slow = Receiver::start(|_, _| None).await;
    let fine = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let mut options = quick();
    options.timeout = Duration::from_secs(60);
    options.drain_timeout = Duration::from_millis(300);
    let (mut registry, webhooks) = telling(vec![endpoint(&slow.url("/")), endpoint(&fine.url("/"))], options).await;
    let begun = Instant::now();
    push(&registry, "v1", 0..5).await;
    fine.wait(10).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(slow.posts().len(), 1);
    assert_eq!(counts(&webhooks).waiting, 10);
    let begun = Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_waits_is_told_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut options = quick();
    options.journal = Some(directory.path().join("webhooks"));
    options.drain_timeout = Duration::from_millis(100);
    let url = format!("http://{dead}/T0PSECRET");
    let (mut registry, webhooks) = telling(vec![endpoint(&url)], options.clone()).await;
    push(&registry, "v1", 0..3).await;
    until(&webhooks, |counts| counts.failed > 0).await;
    registry.stop().await;
    assert_eq!(counts(&webhooks).waiting, 6);
    // Its files tell nothing of where they go, and nobody else may read them.
    for entry in std::fs::read_dir(directory.path().join("webhooks")).unwrap() {
        let path = entry.unwrap().path();
        assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("T0PSECRET"), "{path:?}");
    }
    drop((registry, webhooks));
    // It comes back at the same address, and so does the registry.
    let listener = TcpListener::bind(dead).await.unwrap();
    let (told, telling_task) = tokio::sync::mpsc::unbounded_channel();
    let mut telling_task = telling_task;
    let task = tokio::spawn(async move {
        let kept = Mutex::new(Vec::new());
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            receive(stream, &kept, &move |_, post| {
                let _ = told.send(post.clone());
                Some(FINE.to_owned())
            })
            .await;
        }
    });
    let (registry, webhooks) = telling(vec![endpoint(&url)], options).await;
    push(&registry, "v1", 3..4).await;
    let mut tags = Vec::new();
    for _ in 0..8 {
        let post = tokio::time::timeout(Duration::from_secs(10), telling_task.recv()).await.unwrap().unwrap();
        tags.push(post.json()["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(tags, ["manifest-pushed", "tag-moved"].repeat(4));
    until(&webhooks, |counts| counts.waiting == 0).await;
    task.abort();
    drop(receiver);
}

#[tokio::test]
async fn what_waits_when_the_server_stops_is_told_for_a_while() {
    let receiver = Receiver::start(|_, _| {
        std::thread::sleep(Duration::from_millis(5));
        Some(FINE.to_owned())
    })
    .await;
    let (mut registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], quick()).await;
    push(&registry, "v1", 0..10).await;
    registry.stop().await;
    assert_eq!((counts(&webhooks).delivered, counts(&webhooks).waiting), (20, 0));
}

#[tokio::test]
async fn what_is_written_faster_than_it_is_taken_is_dropped_and_counted() {
    let receiver = Receiver::start(|_, _| None).await;
    let mut options = quick();
    options.waiting = 5.try_into().unwrap();
    options.timeout = Duration::from_secs(60);
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], options).await;
    push(&registry, "v1", 0..10).await;
    assert_eq!((counts(&webhooks).waiting, counts(&webhooks).dropped), (5, 15));
}
