//! Deliveries and their attempts: the queue that the delivery engine drains.
