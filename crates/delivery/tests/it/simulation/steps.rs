//! What happens in a world: each step of the engine, as the engine's tasks take it, and what the world checks as it sees it.

use super::*;

impl World<'_> {
    pub(super) async fn arrive(&mut self, channel: usize, flow: u64) {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up && self.nodes[*node].stopped_until <= self.now)
            .collect();
        if up.is_empty() {
            let again = self.now + 500;
            return self.at(again, Event::Arrive { channel, flow });
        }
        let node = up[self.random.below(up.len() as u64) as usize];
        let now = self.node_now(node);
        let lane = self
            .channel_of
            .iter()
            .find(|(_, of)| **of == channel)
            .map(|(lane, _)| *lane);
        let room = lane.is_some_and(|lane| self.nodes[node].lanes.has_room(lane, now));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.seed.to_be_bytes());
        id[8..].copy_from_slice(&flow.to_be_bytes());
        let new = NewCallback {
            id: CallbackId::new(now, self.random.next() as u32),
            channel_id: self.channels[channel].clone(),
            url: None,
            sign_flow_id: SignFlowId::from_bytes(id),
            body: Bytes::from_static(b"{}"),
            due_at: now,
            lease: room.then(|| self.lease(node)),
        };
        let trick = self.trick();
        if trick == Some(false) {
            let again = self.now + 100;
            return self.at(again, Event::Arrive { channel, flow });
        }
        let accepted = self.store.accept_callback(new.clone()).await.unwrap();
        // The node may die, or the answer get lost, between the commit and whatever follows it.
        let dies = self.dies(20);
        if let Accepted::New(placed) = accepted {
            self.channel_of.insert(placed.lane, channel);
            self.newest_fence.insert(placed.id, placed.fence);
            if !dies && trick.is_none() {
                let lanes = &mut self.nodes[node].lanes;
                match new.lease {
                    Some(lease) => lanes.admit(Claimed {
                        id: placed.id,
                        lane: placed.lane,
                        url: None,
                        body: new.body,
                        attempts: 0,
                        fence: placed.fence,
                        lease_until: lease.until,
                    }),
                    None => lanes.waits(placed.lane, now),
                }
            }
        }
        if dies {
            self.crash(node);
        }
        if dies || trick.is_some() {
            // The client heard nothing, and asks again.
            let again = self.now + 100;
            return self.at(again, Event::Arrive { channel, flow });
        }
        match accepted {
            Accepted::New(placed) => {
                self.accepted.insert(placed.id, (self.now, channel));
            }
            Accepted::Before(id) => {
                self.accepted.entry(id).or_insert((self.now, channel));
            }
            Accepted::Conflict => panic!("the same members conflict"),
        }
        self.drive(node);
    }

    /// Whether a node dies now, between two of its steps.
    fn dies(&mut self, chances: u64) -> bool {
        !self.healed && self.faults.crashes && self.random.one_in(chances)
    }

    pub(super) fn crash(&mut self, node: usize) {
        let life = &mut self.nodes[node];
        life.up = false;
        life.life += 1;
        let recorded = life.recorded.take().map(|(batch, _)| batch);
        let untold = life.pending.drain(..).chain(recorded.unwrap_or_default());
        self.cut_off
            .extend(untold.map(|(_, outcome)| (outcome.id, outcome.fence)));
        self.cut_off
            .extend(life.running.drain().map(|(lease, _)| lease));
        let back = self.now + self.random.between(1, 5000);
        self.at(back, Event::Start { node });
    }

    /// Ends a node in good order: it gives back what has not started, breaks off what is under way, and records all of it.
    pub(super) async fn shut_down(&mut self, node: usize) {
        // In an order of their own: that of the lanes differs from run to run.
        let mut waiting = self.nodes[node].lanes.take_all();
        waiting.sort_by_key(|claimed| (claimed.id, claimed.fence));
        let mut broken_off: Vec<Claimed> = self.nodes[node].running.values().cloned().collect();
        broken_off.sort_by_key(|claimed| (claimed.id, claimed.fence));
        self.give_back(node, waiting);
        self.give_back(node, broken_off);
        let batch = self.nodes[node].pending.clone();
        let outcomes: Vec<Outcome> = batch.into_iter().map(|(_, outcome)| outcome).collect();
        if self.trick() != Some(false) {
            self.finish(node, outcomes.into()).await;
        }
        self.crash(node);
    }

    pub(super) async fn start_node(&mut self, node: usize) {
        let alone = self.nodes.len() == 1;
        let fresh = &mut self.nodes[node];
        fresh.lanes = Lanes::new(limits());
        fresh.up = true;
        fresh.recorded = None;
        fresh.claimed.clear();
        fresh.recording = false;
        fresh.claim_at = None;
        if alone {
            let (holder, now) = (self.holder(node), self.node_now(node));
            self.store.release_others(holder, now).await.unwrap();
        }
        let life = self.nodes[node].life;
        let now = self.now;
        self.at(now, Event::Poll { node, life });
    }

    pub(super) async fn poll(&mut self, node: usize, life: u32) {
        let next = self.now + POLL;
        self.at(next, Event::Poll { node, life });
        if self.trick().is_some() {
            return;
        }
        let due_lanes = self.store.due_lanes().await.unwrap();
        if self.dies(100) {
            return self.crash(node);
        }
        let mut back = Vec::new();
        for due in due_lanes {
            if !self.channel_of.contains_key(&due.id) {
                continue;
            }
            let lanes = &mut self.nodes[node].lanes;
            lanes.waits(due.id, due.due_at);
            back.extend(lanes.set_paused(due.id, due.resting));
        }
        self.nodes[node].lanes.forget_idle();
        self.give_back(node, back);
        self.drive(node);
    }

    pub(super) fn give_back(&mut self, node: usize, back: Vec<Claimed>) {
        let now = self.node_now(node);
        for claimed in back {
            let outcome = Outcome {
                id: claimed.id,
                fence: claimed.fence,
                attempt: None,
                next: Next::Due(now),
            };
            self.nodes[node].pending.push((claimed.lane, outcome));
        }
    }

    pub(super) async fn claim(&mut self, node: usize) {
        self.nodes[node].claim_at = None;
        let now = self.node_now(node);
        let asks = self.nodes[node].lanes.to_claim(now, 16);
        if !asks.is_empty() {
            let trick = self.trick();
            let claims = match trick {
                Some(false) => None,
                _ => Some(
                    self.store
                        .claim_due(asks.clone(), self.lease(node), now)
                        .await
                        .unwrap(),
                ),
            };
            for claimed in claims.iter().flatten().flat_map(|claim| &claim.taken) {
                let newest = self.newest_fence.insert(claimed.id, claimed.fence);
                assert!(
                    newest.is_none_or(|before| before < claimed.fence),
                    "a fence that does not grow"
                );
            }
            if self.dies(30) {
                return self.crash(node);
            }
            let known = claims.filter(|_| trick.is_none());
            self.nodes[node].claimed.push_back((asks, known));
            let (at, life) = (self.now + self.random.between(0, 20), self.nodes[node].life);
            self.at(at, Event::Claimed { node, life });
        }
        self.drive(node);
    }

    pub(super) fn claimed(&mut self, node: usize) {
        let now = self.node_now(node);
        let (asks, claims) = self.nodes[node]
            .claimed
            .pop_front()
            .expect("one answer for each claim");
        let lanes = &mut self.nodes[node].lanes;
        match claims {
            Some(claims) => asks
                .iter()
                .zip(claims)
                .for_each(|((lane, _), claim)| lanes.claimed(*lane, claim)),
            None => asks
                .iter()
                .for_each(|(lane, _)| lanes.claim_failed(*lane, now + 200)),
        }
        self.drive(node);
    }

    /// What the engine does after every step: starts what may start, and plans its next steps.
    pub(super) fn drive(&mut self, node: usize) {
        let now = self.node_now(node);
        while let Some(claimed) = self.nodes[node].lanes.start(now) {
            self.send(node, claimed);
        }
        let life = self.nodes[node].life;
        if !self.nodes[node].pending.is_empty() && !self.nodes[node].recording {
            self.nodes[node].recording = true;
            let at = self.now + self.random.between(1, 10);
            self.at(at, Event::Record { node, life });
        }
        if let Some(at) = self.nodes[node].lanes.next_claim_at() {
            let at = self.now + (at - now).max(1);
            if self.nodes[node].claim_at.is_none_or(|planned| at < planned) {
                self.nodes[node].claim_at = Some(at);
                self.at(at, Event::Claim { node, life });
            }
        }
        let most = limits().held + self.channels.len();
        assert!(self.nodes[node].lanes.held() <= most, "memory is bounded");
        for lane in self.nodes[node].lanes.report(now) {
            let most = limits().attempts_per_lane;
            assert!(
                lane.running <= most,
                "a lane makes too many attempts at once"
            );
        }
    }

    pub(super) fn send(&mut self, node: usize, claimed: Claimed) {
        let id = claimed.id;
        if !self.faults.jumps {
            assert!(
                !self.acknowledged.contains_key(&id),
                "an attempt starts after the acknowledgement was recorded"
            );
        }
        if let Some(due) = self.due.remove(&id)
            && self.faults.none()
            && matches!(
                self.behaviour[self.channel_of[&claimed.lane]],
                Behaviour::Healthy | Behaviour::Flaky(_)
            )
        {
            let late = self.now - due;
            assert!(late < 1500, "{id}: the next attempt started {late} ms late");
        }
        let channel = self.channel_of[&claimed.lane];
        let lease = (id, claimed.fence);
        let (took, answer) = self.played(channel);
        if answer != Answer::NotMade {
            assert!(self.sent.insert(lease), "one lease, one attempt");
            self.first_start.entry(id).or_insert(self.now);
        }
        let life = self.nodes[node].life;
        self.nodes[node].running.insert(lease, claimed);
        let at = self.now + took;
        self.at(
            at,
            Event::End {
                node,
                life,
                lease,
                answer,
                took,
            },
        );
    }

    /// How long an attempt takes and how it ends, as the channel is.
    fn played(&mut self, channel: usize) -> (i64, Answer) {
        // Whoever asks the database for the channel finds it paused.
        let paused = self.paused[channel] && self.random.one_in(2);
        let chances = if self.healed { 0 } else { self.faults.not_made };
        if paused || self.random.one_in(chances) {
            return (self.random.between(0, 5), Answer::NotMade);
        }
        let behaviour = if self.healed {
            Behaviour::Healthy
        } else {
            self.behaviour[channel]
        };
        let (took, acknowledged) = match behaviour {
            Behaviour::Healthy => (self.random.between(1, 50), true),
            Behaviour::Flaky(chances) => {
                (self.random.between(1, 300), !self.random.one_in(chances))
            }
            Behaviour::Refusing => (1, false),
            Behaviour::Hanging => (DEADLINE, false),
            Behaviour::Slow(least) => (
                self.random.between(least, DEADLINE - 1),
                !self.random.one_in(4),
            ),
        };
        let answer = if acknowledged {
            Answer::Acknowledged
        } else {
            Answer::Other
        };
        (took, answer)
    }

    /// Whether the lane's endpoint means all callbacks when it asks to wait. Of those whose promptness is checked, none does.
    fn rests_when_asked(&self, lane: LaneId) -> bool {
        matches!(
            self.behaviour[self.channel_of[&lane]],
            Behaviour::Refusing | Behaviour::Slow(_)
        )
    }

    pub(super) fn end(&mut self, node: usize, lease: LeaseOf, answer: Answer, took: i64) {
        if self.dies(100) {
            // What the channel answered is lost with the node.
            return self.crash(node);
        }
        let claimed = self.nodes[node]
            .running
            .remove(&lease)
            .expect("an attempt ends once");
        let now = self.node_now(node);
        let mut back = Vec::new();
        let mut wait = None;
        let verdict = match answer {
            Answer::Acknowledged => Verdict::Acknowledged {
                status: 200,
                answer: Bytes::new(),
            },
            Answer::Other => {
                let asks_to_wait = self.random.one_in(5);
                let asked = asks_to_wait.then(|| self.random.between(0, 20_000));
                // Of the endpoint as a whole, as 429 and 503 do.
                wait = asked.filter(|_| self.rests_when_asked(claimed.lane));
                Verdict::Failed {
                    reason: Reason::Timeout,
                    detail: String::new(),
                    status: None,
                    answer: Bytes::new(),
                    retry_after: asked,
                }
            }
            Answer::NotMade => {
                let resting = self.paused[self.channel_of[&claimed.lane]];
                if resting {
                    back = self.nodes[node].lanes.set_paused(claimed.lane, true);
                }
                Verdict::NotMade(String::new())
            }
        };
        let effect = match answer {
            Answer::Acknowledged => Effect::Acknowledged,
            Answer::Other => match wait {
                Some(wait) => Effect::AskedToWait(wait),
                None if took >= DEADLINE => Effect::Overloaded,
                None => Effect::Refused,
            },
            Answer::NotMade => Effect::NotMade,
        };
        let took = Duration::from_millis(took as u64);
        let made = Made {
            at: now - took.as_millis() as i64,
            took,
            verdict,
        };
        let (attempt, next) = made.settle(&self.schedule, claimed.id, claimed.attempts, now);
        let outcome = Outcome {
            id: claimed.id,
            fence: claimed.fence,
            attempt,
            next,
        };
        back.extend(
            self.nodes[node]
                .lanes
                .ended(claimed.lane, effect, took, now)
                .back,
        );
        self.nodes[node].pending.push((claimed.lane, outcome));
        self.give_back(node, back);
        self.drive(node);
    }

    pub(super) async fn record(&mut self, node: usize) {
        let batch: Vec<(LaneId, Outcome)> = self.nodes[node].pending.drain(..).collect();
        let outcomes: Arc<[Outcome]> = batch.iter().map(|(_, outcome)| outcome.clone()).collect();
        let trick = self.trick();
        let counted = match trick {
            Some(false) => None,
            _ => Some(self.finish(node, outcomes).await),
        };
        let known = counted.filter(|_| trick.is_none());
        self.nodes[node].recorded = Some((batch, known));
        let (at, life) = (self.now + self.random.between(0, 20), self.nodes[node].life);
        self.at(at, Event::Recorded { node, life });
        if self.dies(30) {
            self.crash(node);
        } else {
            self.drive(node);
        }
    }

    /// Records outcomes, and sees what counts.
    async fn finish(&mut self, node: usize, outcomes: Arc<[Outcome]>) -> Vec<bool> {
        let holder = self.holder(node);
        let finished = self.store.finish(holder, Arc::clone(&outcomes)).await;
        let counted = finished.unwrap();
        for (outcome, counted) in outcomes.iter().zip(&counted) {
            let lease = (outcome.id, outcome.fence);
            if !counted {
                // Unless it counted before, and the answer to that was lost.
                assert!(
                    self.faults.leases_are_lost()
                        || self.counted.contains(&lease)
                        || outcome.attempt.is_none(),
                    "a lease ran out while an attempt was made"
                );
                self.cut_off.insert(lease);
                continue;
            }
            assert_eq!(
                self.newest_fence.get(&outcome.id),
                Some(&outcome.fence),
                "an outcome counts whose lease was lost"
            );
            if outcome.attempt.is_some() {
                assert!(self.counted.insert(lease), "an outcome counts twice");
            } else {
                // Given back; if it had been sent, that was broken off.
                self.cut_off.insert(lease);
            }
            match outcome.next {
                Next::Acknowledged(_) => drop(self.acknowledged.insert(outcome.id, self.now)),
                Next::Due(at) => drop(self.due.insert(outcome.id, at - self.start)),
                Next::Failed(_) => {}
            }
        }
        counted
    }

    pub(super) fn recorded(&mut self, node: usize) {
        self.nodes[node].recording = false;
        match self.nodes[node]
            .recorded
            .take()
            .expect("one answer for each batch")
        {
            // The engine does not know whether it worked, and does the same again.
            (batch, None) => drop(self.nodes[node].pending.splice(0..0, batch)),
            (batch, Some(counted)) => {
                for ((lane, outcome), counted) in batch.into_iter().zip(counted) {
                    let due_at = match outcome.next {
                        Next::Due(at) if counted => Some(at),
                        _ => None,
                    };
                    self.nodes[node]
                        .lanes
                        .settled(lane, outcome.id, outcome.fence, due_at);
                }
            }
        }
        self.drive(node);
    }
}
