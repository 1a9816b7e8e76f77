//! Now and then another loop goes on with everything, as when the gateway is replaced.

use super::{Crowd, Named, TURNS, seeds};

impl Crowd {
    pub(super) fn upgrade(&mut self) {
        if let Some(upgrades) = &mut self.upgrades
            && self.script.hand_over().is_ok()
        {
            *upgrades += 1;
        }
    }
}

#[test]
fn invariants_hold_while_other_loops_go_on_with_everything() {
    let mut upgrades = 0;
    for seed in seeds() {
        let _named = Named::new(seed);
        let mut crowd = Crowd::new(seed, |_| ());
        crowd.upgrades = Some(0);
        for _ in 0..TURNS {
            for _ in 0..crowd.rng.u32(1..6) {
                crowd.step();
            }
            crowd.turn();
        }
        upgrades += crowd.upgrades.unwrap_or(0);
        crowd.end_well();
    }
    assert!(upgrades > 20, "{upgrades}");
}
