//! How many attempts one lane makes at once: grows while the endpoint keeps up, halves when it does not.

use std::time::Duration;

/// Attempts at once when nothing is known about an endpoint.
const FIRST: usize = 8;

/// An answer that takes this much longer than the endpoint's best says that more at once would only queue there.
const SLACK: u32 = 4;
const ALLOWANCE: Duration = Duration::from_millis(5);

/// A window of attempts, after TCP's: one more for each answer at first, then one more per round of answers, halved on loss.
#[derive(Debug, Clone)]
pub struct Window {
    size: usize,
    most: usize,
    /// Below it every answer in time adds one; from it on a whole window of them does.
    threshold: usize,
    /// Answers since the last growth.
    answers: usize,
    /// Attempts that were under way at the last cut; their ends say nothing about the new size.
    old: usize,
    /// The shortest answer seen lately.
    best: Duration,
}

impl Window {
    /// A window that never exceeds `most`.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            size: FIRST.min(most),
            most,
            threshold: most,
            answers: 0,
            old: 0,
            best: Duration::MAX,
        }
    }

    /// Attempts at once.
    pub fn size(&self) -> usize {
        self.size
    }

    /// An answer came and took `took`; `full` says whether the window was used up meanwhile. One that was not has proved
    /// nothing about a larger.
    pub fn kept_up(&mut self, took: Duration, full: bool) {
        self.old = self.old.saturating_sub(1);
        // The best is let rise slowly, so that an endpoint that has become slower for good is not held to its past.
        self.best = if took < self.best {
            took
        } else {
            self.best + (took - self.best) / 4096
        };
        let queues_there = took > self.best * SLACK + ALLOWANCE;
        if !full || queues_there {
            return;
        }
        self.answers += 1;
        if self.size < self.threshold || self.answers >= self.size {
            self.size = (self.size + 1).min(self.most);
            self.answers = 0;
        }
    }

    /// The endpoint did not keep up. What was under way when it began to fail counts as one failure.
    pub fn overloaded(&mut self) {
        if self.old > 0 {
            self.old -= 1;
            return;
        }
        self.old = self.size - 1;
        self.size = (self.size / 2).max(1);
        self.threshold = self.size;
        self.answers = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    #[test]
    fn grows_while_answers_come_and_never_beyond_the_most() {
        let mut window = Window::new(64);
        assert_eq!(window.size(), 8);
        for _ in 0..1000 {
            window.kept_up(QUICK, true);
        }
        assert_eq!(window.size(), 64);
    }

    #[test]
    fn falls_to_one_and_comes_back_slowly() {
        let mut window = Window::new(64);
        for _ in 0..20 {
            window.overloaded();
        }
        assert_eq!(window.size(), 1);
        for _ in 0..3 {
            window.kept_up(QUICK, true);
        }
        assert_eq!(window.size(), 3, "one answer adds one, then two more do");
    }

    #[test]
    fn one_burst_of_failures_halves_once() {
        let mut window = Window::new(64);
        for _ in 0..8 {
            window.overloaded();
        }
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut window = Window::new(64);
        for _ in 0..1000 {
            window.kept_up(QUICK, false);
        }
        assert_eq!(window.size(), 8);
    }

    #[test]
    fn does_not_grow_where_more_would_only_queue() {
        let mut window = Window::new(64);
        window.kept_up(QUICK, true);
        let before = window.size();
        for _ in 0..100 {
            window.kept_up(Duration::from_millis(50), true);
        }
        assert_eq!(window.size(), before);
    }
}
