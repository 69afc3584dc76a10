//! Takes over pieces of a pod that leaves.

use std::sync::Arc;

use connected_cache_core::{ContentClass, PieceIndex};

use super::{
    Catalog, Fill, Object, ObjectHead,
    known::Known,
    opening::{Kept, Ticket},
    siblings::{Waiting, Wish},
};
use crate::{
    sharing::{
        Sharing,
        handover::{Handover, Taken},
        members::Member,
    },
    upstream::{FetchTarget, UpstreamError},
};

impl Catalog {
    /// Takes what is missing of the pieces that another pod hands over. A task of its own: who tells us may be gone before it is over,
    /// and fills that were begun have to end.
    pub(crate) async fn take_over(&self, from: Member, handover: Handover, target: FetchTarget) -> Taken {
        let catalog = self.clone();
        let taking = async move { catalog.take_missing(&from, &handover, &target).await };
        self.shared.tasks.spawn(taking).await.ok().flatten().unwrap_or_default()
    }

    async fn take_missing(&self, from: &Member, handover: &Handover, target: &FetchTarget) -> Taken {
        let mut taken = Taken::default();
        let Some(sharing) = self.shared.sharing.clone() else { return taken };
        let Some(object) = self.object_to_take(handover).await else { return taken };
        let layout = object.layout();
        for (first, last) in &handover.runs {
            let mut number = *first;
            while let Some(piece) = layout.piece(number).filter(|piece| piece.number() <= *last) {
                // One run after the other: what was registered has to be fetched.
                let count = (last - number).saturating_add(1);
                let run = self.shared.transit.register_run(&object, piece, count);
                number += run.len().max(1) as u64;
                if run.is_empty() {
                    continue;
                }
                let fills: Vec<Arc<Fill>> = run.iter().map(|(_, fill)| fill.clone()).collect();
                self.take_run(&sharing, from, &object, target, run).await;
                let came = fills.iter().filter(|fill| matches!(fill.outcome(), Some(Ok(()))));
                let (pieces, bytes) =
                    came.fold((0, 0), |(pieces, bytes), fill| (pieces + 1, bytes + fill.length_bytes()));
                if pieces == 0 {
                    // It has gone: nobody waits for what it can't give.
                    return taken;
                }
                taken.pieces += pieces;
                taken.bytes += bytes;
            }
        }
        taken
    }

    /// The object in the state that is handed over; `None` = another state of it is known here, or it is not kept.
    async fn object_to_take(&self, handover: &Handover) -> Option<Arc<Object>> {
        let key = connected_cache_core::ObjectKey::from_stored(handover.key.clone());
        let head = ObjectHead::decode(handover.attributes.as_bytes(), handover.content_length_bytes)?;
        if self.shared.passing.holds(&key) {
            return None;
        }
        let known = self.known(&key).await;
        if let Known::Object(object) = &known {
            return object.generation().agrees_with(&head.generation).then(|| object.clone());
        }
        let (class, ticket) = (ContentClass::of_number(handover.class), Ticket::default());
        Some(self.admit(Kept { key: &key, class, ticket: &ticket }, head, &known))
    }

    async fn take_run(
        &self,
        sharing: &Arc<Sharing>,
        from: &Member,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
    ) {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return };
        let (first, last) = (first.number(), last.number());
        for (piece, fill) in &run {
            let Some(room) = self.shared.room.wait(object.layout().range_of(*piece).length()).await else {
                return self.fail_run(object, &run, &UpstreamError::NoRoom);
            };
            fill.keep_room(room);
        }
        let (state, waiting) = (Some(object.generation()), Waiting::Fills(&run));
        let wish = Wish { key: object.key(), state, target, first, last, waiting };
        let rest = match self.ask_holder(sharing, from.clone(), wish).await {
            Ok(given) => self.pour_what_comes(object, target, run, given.pieces).await,
            Err(_) => run,
        };
        let error = UpstreamError::Unreachable { reason: "the pod that hands it over gives no more".into() };
        self.fail_run(object, &rest, &error);
    }
}
