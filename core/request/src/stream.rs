//! The stream that events travel in: bounded, whoever writes and however slowly it is read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::event::{Event, Log};

/// Bytes of output that wait to be read before whoever writes more is held up.
const LOG_ROOM: usize = 1 << 20;
/// Bytes of other events that wait to be read before whoever asks for room is held up.
const STATE_ROOM: usize = 16 << 20;
/// What an event takes besides its texts, about.
const OVERHEAD: usize = 256;

/// The sending end of an event stream. Cheap to clone.
///
/// What waits to be read is bounded. States of vertices and warnings are as many as the plan has; of the states
/// of one part of a vertex, the newest replaces one that was not read yet. Only output can be endless, and whoever
/// sends it waits for room: see [`send_log`](Self::send_log).
#[derive(Debug, Clone)]
pub struct EventSender(Arc<Sending>);

/// What all senders of a stream have in common: dropped with the last of them, it ends the stream.
#[derive(Debug)]
struct Sending(Arc<Shared>);

/// The reading end of an event stream. When it is dropped, senders throw away what they send.
#[derive(Debug)]
pub struct EventReceiver(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something arrived, or the stream ended.
    arrived: Notify,
    /// There is room for output, or nobody needs to wait for it any more.
    room: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// How many events were ever read: the number of the first one that was not.
    first: u64,
    /// The number of the event that has the state of a part, by vertex and part.
    parts: HashMap<(String, String), u64>,
    /// Bytes of output that wait.
    log: usize,
    /// Bytes of all else that waits.
    states: usize,
    /// Nobody sends any more.
    ended: bool,
    /// Nobody reads what is sent from now on.
    closed: bool,
    /// Output that finds no room is thrown away.
    impatient: bool,
}

/// An event stream: the end that builders write and the end that renderers read. It ends when the last sender
/// is dropped.
pub fn events() -> (EventSender, EventReceiver) {
    let shared: Arc<Shared> = Arc::default();
    (EventSender(Arc::new(Sending(shared.clone()))), EventReceiver(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSender {
    /// Sends one event. This never waits and never fails: where nobody reads any more, events are thrown away.
    /// A step's output, of which there may be any amount, is sent with [`send_log`](Self::send_log).
    pub fn send(&self, event: Event) {
        self.0.0.lock().push(event);
        self.0.0.arrived.notify_one();
    }

    /// Sends output, and waits as long as what was sent before has not been read, so that a step writes no faster
    /// than its output is shown. It blocks its thread: no asynchronous task may call it.
    ///
    /// The output is thrown away where nobody reads any more, and where there is no room after
    /// [`stop_waiting`](Self::stop_waiting).
    pub fn send_log(&self, log: Log) {
        let shared = &self.0.0;
        let waits = |queue: &mut Queue| queue.log >= LOG_ROOM && !queue.closed && !queue.impatient;
        let mut queue = shared.room.wait_while(shared.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        if queue.log < LOG_ROOM {
            queue.push(Event::Log(log));
            drop(queue);
            shared.arrived.notify_one();
        }
    }

    /// Waits as long as much of what was sent before has not been read: for whoever passes on what others say, which
    /// may be any number of states. It blocks its thread: no asynchronous task may call it.
    ///
    /// It does not wait where nobody reads any more, nor after [`stop_waiting`](Self::stop_waiting).
    pub fn wait_for_room(&self) {
        let shared = &self.0.0;
        let waits = |queue: &mut Queue| queue.states >= STATE_ROOM && !queue.closed && !queue.impatient;
        drop(shared.room.wait_while(shared.lock(), waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the stream for all senders: what they send from now on is thrown away, and the reader hears of the end
    /// when it has read what was sent before.
    pub fn end(&self) {
        let mut queue = self.0.0.lock();
        queue.ended = true;
        queue.closed = true;
        drop(queue);
        self.0.0.room.notify_all();
        self.0.0.arrived.notify_one();
    }

    /// Ends all waiting for room, now and later: the build was cancelled, and must not wait for a reader.
    pub fn stop_waiting(&self) {
        self.0.0.lock().impatient = true;
        self.0.0.room.notify_all();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.arrived.notify_one();
    }
}

impl EventReceiver {
    /// Waits for events and takes at most `limit` of them, which it adds to `batch`. Answers how many; 0 when the
    /// stream has ended. Nothing is lost where the future is dropped.
    pub async fn recv_many(&mut self, batch: &mut Vec<Event>, limit: usize) -> usize {
        loop {
            {
                let mut queue = self.0.lock();
                let count = queue.take(batch, limit);
                if count > 0 || queue.ended {
                    drop(queue);
                    self.0.room.notify_all();
                    return count;
                }
            }
            // There is one reader, and what arrives in between leaves a permit.
            self.0.arrived.notified().await;
        }
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        queue.events = VecDeque::new();
        queue.parts = HashMap::new();
        drop(queue);
        self.0.room.notify_all();
    }
}

impl Queue {
    fn push(&mut self, event: Event) {
        if self.closed {
            return;
        }
        match &event {
            Event::Status(status) => {
                let next = self.first + self.events.len() as u64;
                let number = *self.parts.entry((status.vertex.clone(), status.id.clone())).or_insert(next);
                let place = usize::try_from(number - self.first).ok();
                if let Some(waiting) = place.and_then(|place| self.events.get_mut(place)) {
                    self.states = self.states - size(waiting) + size(&event);
                    *waiting = event;
                    return;
                }
                self.states += size(&event);
            }
            Event::Log(_) => self.log += size(&event),
            Event::Vertex(_) | Event::Warning(_) => self.states += size(&event),
        }
        self.events.push_back(event);
    }

    fn take(&mut self, batch: &mut Vec<Event>, limit: usize) -> usize {
        let count = limit.min(self.events.len());
        for event in self.events.drain(..count) {
            match &event {
                Event::Status(status) => {
                    self.states -= size(&event);
                    self.parts.remove(&(status.vertex.clone(), status.id.clone()));
                }
                Event::Log(_) => self.log -= size(&event),
                Event::Vertex(_) | Event::Warning(_) => self.states -= size(&event),
            }
            batch.push(event);
        }
        self.first += count as u64;
        count
    }
}

/// What an event takes, about.
fn size(event: &Event) -> usize {
    let texts = match event {
        Event::Log(log) => log.data.len(),
        Event::Vertex(vertex) => {
            let inputs: usize = vertex.inputs.iter().map(|input| OVERHEAD + input.len()).sum();
            inputs + vertex.name.len() + vertex.error.as_ref().map_or(0, String::len)
        }
        Event::Status(status) => status.id.len() + status.vertex.len() + status.name.len(),
        Event::Warning(warning) => {
            let detail: usize = warning.detail.iter().map(|line| OVERHEAD + line.len()).sum();
            detail + warning.short.len() + warning.source.len() + warning.lines.len() * 8
        }
    };
    OVERHEAD + texts
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Stream, Vertex, VertexStatus};

    fn log(length: usize) -> Log {
        Log {
            vertex: "v".to_owned(),
            stream: Stream::Stdout,
            data: vec![b'x'; length],
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    fn status(vertex: &str, id: &str, current: u64) -> Event {
        Event::Status(VertexStatus {
            id: id.to_owned(),
            vertex: vertex.to_owned(),
            current,
            ..VertexStatus::default()
        })
    }

    fn vertex(digest: &str) -> Event {
        Event::Vertex(Vertex { digest: digest.to_owned(), ..Vertex::default() })
    }

    #[tokio::test]
    async fn whoever_asks_waits_for_room() {
        let (sender, mut receiver) = events();
        let name = "x".repeat(STATE_ROOM / 4);
        let large = move || Event::Vertex(Vertex { name: name.clone(), ..Vertex::default() });
        for _ in 0..3 {
            sender.send(large());
            sender.wait_for_room();
        }
        sender.send(large());
        let (told, hear) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            sender.wait_for_room();
            told.send(()).unwrap();
            sender.stop_waiting();
            sender.send(large());
            sender.wait_for_room();
        });
        assert!(hear.recv_timeout(Duration::from_millis(50)).is_err());
        assert_eq!(receiver.recv_many(&mut Vec::new(), 1).await, 1);
        hear.recv().unwrap();
        waiting.join().unwrap();
    }

    #[tokio::test]
    async fn the_newest_state_of_a_part_replaces_one_that_waits() {
        let (sender, mut receiver) = events();
        for current in 0..1000 {
            sender.send(status("a", "1", current));
            sender.send(status("a", "2", current));
            sender.send(status("b", "1", current));
        }
        sender.send(vertex("a"));
        let mut batch = Vec::new();
        assert_eq!(receiver.recv_many(&mut batch, 1).await, 1);
        sender.send(status("a", "1", 1000));
        sender.send(status("b", "1", 1000));
        drop(sender);
        while receiver.recv_many(&mut batch, 2).await > 0 {}
        let expected = [
            status("a", "1", 999),
            status("a", "2", 999),
            status("b", "1", 1000),
            vertex("a"),
            status("a", "1", 1000),
        ];
        assert_eq!(batch, expected);
    }

    #[tokio::test]
    async fn output_waits_for_the_reader() {
        let (sender, mut receiver) = events();
        let (told, count) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            for number in 0..1000 {
                sender.send_log(log(32 << 10));
                let _ = told.send(number);
            }
        });
        let mut batch = Vec::new();
        let mut read = 0;
        loop {
            let queued = receiver.0.lock().log;
            assert!(queued <= LOG_ROOM + (32 << 10) + OVERHEAD, "{queued}");
            match receiver.recv_many(&mut batch, 7).await {
                0 => break,
                count => read += count,
            }
            batch.clear();
        }
        writer.join().unwrap();
        assert_eq!((read, count.iter().count()), (1000, 1000));
    }

    /// Starts a thread that sends more output than there is room for, and hears when it is done.
    fn flood(sender: EventSender) -> mpsc::Receiver<()> {
        let (told, done) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..200 {
                sender.send_log(log(32 << 10));
            }
            told.send(()).unwrap();
        });
        done
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_gone_or_a_build_that_is_cancelled() {
        let (sender, receiver) = events();
        let done = flood(sender);
        drop(receiver);
        done.recv_timeout(Duration::from_mins(1)).unwrap();

        let (sender, receiver) = events();
        let done = flood(sender.clone());
        sender.send(vertex("a"));
        sender.stop_waiting();
        done.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(receiver.0.lock().log < LOG_ROOM + (33 << 10));
    }

    #[tokio::test]
    async fn a_stream_that_was_ended_is_read_to_there() {
        let (sender, mut receiver) = events();
        let other = sender.clone();
        sender.send(vertex("a"));
        sender.end();
        other.send(vertex("b"));
        other.send_log(log(1));
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 10).await > 0 {}
        assert_eq!(batch, [vertex("a")]);
    }

    #[tokio::test]
    async fn waiting_readers_hear_of_the_end() {
        let (sender, mut receiver) = events();
        let reader = tokio::spawn(async move { receiver.recv_many(&mut Vec::new(), 10).await });
        tokio::task::yield_now().await;
        drop(sender.clone());
        drop(sender);
        assert_eq!(reader.await.unwrap(), 0);
    }

    proptest! {
        #[test]
        fn the_last_state_of_everything_arrives(
            steps in proptest::collection::vec((0..3u8, 0..4u8, 0..3u8), 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (sender, mut receiver) = events();
            let mut last = HashMap::new();
            let (mut sent, mut read) = (0, Vec::new());
            for (current, (kind, part, amount)) in (0..).zip(steps) {
                match kind {
                    0 => {
                        let id = part.to_string();
                        sender.send(status("a", &id, current));
                        last.insert(id, current);
                    }
                    1 => {
                        sender.send(vertex(&current.to_string()));
                        sent += 1;
                    }
                    _ if !receiver.0.lock().events.is_empty() => {
                        runtime.block_on(receiver.recv_many(&mut read, usize::from(amount) + 1));
                    }
                    _ => {}
                }
            }
            drop(sender);
            while runtime.block_on(receiver.recv_many(&mut read, 5)) > 0 {}
            let mut seen = HashMap::new();
            for event in &read {
                match event {
                    Event::Status(status) => drop(seen.insert(status.id.clone(), status.current)),
                    Event::Vertex(_) => sent -= 1,
                    _ => {}
                }
            }
            prop_assert_eq!((seen, sent), (last, 0));
        }
    }
}
