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
        let dies = !self.healed && self.faults.crashes && self.random.one_in(20);
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

    pub(super) fn crash(&mut self, node: usize) {
        let life = &mut self.nodes[node];
        life.up = false;
        life.life += 1;
        let recorded = life
            .recorded
            .take()
            .map(|(batch, _)| batch)
            .unwrap_or_default();
        let untold = life
            .pending
            .drain(..)
            .chain(recorded)
            .filter(|(_, outcome)| outcome.attempt.is_some());
        let lost: Vec<CallbackId> = untold
            .map(|(_, outcome)| outcome.id)
            .chain(life.running.values().map(|claimed| claimed.id))
            .collect();
        life.running.clear();
        for id in lost {
            *self.cut_off.entry(id).or_default() += 1;
        }
        let back = self.now + self.random.between(1, 5000);
        self.at(back, Event::Start { node });
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
        let mut back = Vec::new();
        for due in self.store.due_lanes().await.unwrap() {
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
            assert!(late < 5000, "{id}: the next attempt started {late} ms late");
        }
        *self.sent.entry(id).or_default() += 1;
        self.first_start.entry(id).or_insert(self.now);
        let channel = self.channel_of[&claimed.lane];
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
            Behaviour::Slow => (
                self.random.between(2000, DEADLINE - 1),
                !self.random.one_in(4),
            ),
        };
        let (life, fence) = (self.nodes[node].life, claimed.fence);
        let replaced = self.nodes[node]
            .running
            .insert((id.number(), fence), claimed);
        assert!(replaced.is_none(), "one lease, one attempt");
        let at = self.now + took;
        self.at(
            at,
            Event::End {
                node,
                life,
                id: id.number(),
                fence,
                acknowledged,
                took,
            },
        );
    }

    pub(super) fn end(&mut self, node: usize, id: i64, fence: i64, acknowledged: bool, took: i64) {
        let claimed = self.nodes[node]
            .running
            .remove(&(id, fence))
            .expect("an attempt ends once");
        let now = self.node_now(node);
        let verdict = if acknowledged {
            Verdict::Acknowledged {
                status: 200,
                answer: Bytes::new(),
            }
        } else {
            let retry_after = self
                .random
                .one_in(5)
                .then(|| self.random.between(0, 20_000));
            Verdict::Failed {
                reason: Reason::Timeout,
                detail: String::new(),
                status: None,
                answer: Bytes::new(),
                retry_after,
            }
        };
        let effect = if acknowledged {
            Effect::Acknowledged
        } else if took >= DEADLINE {
            Effect::Overloaded
        } else {
            Effect::Refused
        };
        let made = Made {
            at: now - took,
            took: Duration::from_millis(took as u64),
            verdict,
        };
        let (attempt, next) = made.settle(&self.schedule, claimed.id, claimed.attempts, now);
        let outcome = Outcome {
            id: claimed.id,
            fence,
            attempt,
            next,
        };
        let back = self.nodes[node].lanes.ended(
            claimed.lane,
            effect,
            Duration::from_millis(took as u64),
            now,
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
            _ => Some(
                self.store
                    .finish(self.holder(node), Arc::clone(&outcomes))
                    .await
                    .unwrap(),
            ),
        };
        for (outcome, counted) in outcomes.iter().zip(counted.iter().flatten()) {
            if *counted {
                assert_eq!(
                    self.newest_fence.get(&outcome.id),
                    Some(&outcome.fence),
                    "an outcome counts whose lease was lost"
                );
                if outcome.attempt.is_some() {
                    *self.counted.entry(outcome.id).or_default() += 1;
                }
                match outcome.next {
                    Next::Acknowledged(_) => drop(self.acknowledged.insert(outcome.id, self.now)),
                    Next::Due(at) => drop(self.due.insert(outcome.id, at - self.start)),
                    Next::Failed(_) => {}
                }
            }
        }
        let known = counted.filter(|_| trick.is_none());
        self.nodes[node].recorded = Some((batch, known));
        let (at, life) = (self.now + self.random.between(0, 20), self.nodes[node].life);
        self.at(at, Event::Recorded { node, life });
        if !self.healed && self.faults.crashes && self.random.one_in(30) {
            self.crash(node);
        } else {
            self.drive(node);
        }
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
                    if !counted && outcome.attempt.is_some() {
                        *self.cut_off.entry(outcome.id).or_default() += 1;
                    }
                    self.nodes[node]
                        .lanes
                        .settled(lane, outcome.id, outcome.fence, due_at);
                }
            }
        }
        self.drive(node);
    }
}
