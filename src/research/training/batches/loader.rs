//! The threads that prepare an epoch's batches, and the consumer's end of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::order::{cut, shuffle};
use super::{Batch, BatchError, BatchLesions, BatchOptions, BufferPool, Lesion, Sample, VolumeSource, locked};
use crate::research::training::augment::{DrawKey, Scratch};

/// An iterator over one epoch's batches.
#[derive(Debug)]
pub struct Batches {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    count: usize,
    delivered: usize,
    waited: Duration,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A batch became ready.
    ready: Condvar,
    /// The consumer took one, or wants no more.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    claimed: usize,
    delivered: usize,
    done: BTreeMap<usize, Result<Batch, BatchError>>,
    /// Nobody needs waking while the consumer is busy.
    consumer_waits: bool,
    stop: bool,
}

struct Work<S> {
    source: Arc<S>,
    samples: Vec<Sample>,
    batches: Vec<Range<usize>>,
    options: BatchOptions,
    pool: BufferPool,
}

impl Batches {
    /// Starts the workers of one epoch. Costs threads, no copies of the source.
    ///
    /// # Errors
    /// When an option or the set is too small, an amount is out of range, or a thread cannot be started.
    pub fn start<S: VolumeSource + 'static>(
        source: Arc<S>,
        mut samples: Vec<Sample>,
        options: BatchOptions,
        pool: &BufferPool,
    ) -> Result<Self, BatchError> {
        let least = if options.training { 2 } else { 1 };
        for (field, found, least) in
            [("batch_size", options.batch_size, least), ("workers", options.workers, 1), ("ahead", options.ahead, 1)]
        {
            if found < least {
                return Err(BatchError::TooSmall { field, found, least });
            }
        }
        if options.training && samples.len() < 2 {
            return Err(BatchError::TooFewSamples(samples.len()));
        }
        if let Some(augmentation) = &options.augmentation {
            augmentation.validate()?;
        }
        if options.training {
            shuffle(&mut samples, &options);
        }
        let batches = cut(samples.len(), options.batch_size, options.training);
        let count = batches.len();
        let shared = Arc::new(Shared { state: Mutex::default(), ready: Condvar::new(), room: Condvar::new() });
        let threads = options.workers.min(count);
        let work = Arc::new(Work { source, samples, batches, options, pool: pool.clone() });
        // Made first: when a later thread cannot start, its drop stops those before.
        let mut made = Batches { shared, workers: Vec::new(), count, delivered: 0, waited: Duration::ZERO };
        for number in 0..threads {
            let (shared, work) = (made.shared.clone(), work.clone());
            let thread = std::thread::Builder::new().name(format!("batches-{number}"));
            made.workers.push(thread.spawn(move || work.run(&shared))?);
        }
        Ok(made)
    }

    /// Number of batches in the epoch.
    pub fn count_batches(&self) -> usize {
        self.count
    }

    /// How long [`Iterator::next`] has waited so far, the first batch's preparation included.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    /// The next batch, in order. After an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.delivered == self.count {
            return None;
        }
        let began = Instant::now();
        let mut state = locked(&self.shared.state);
        let item = loop {
            if let Some(item) = state.done.remove(&self.delivered) {
                break item;
            }
            state.consumer_waits = true;
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.consumer_waits = false;
        self.delivered += 1;
        state.delivered = self.delivered;
        if item.is_err() {
            state.stop = true;
            self.delivered = self.count;
        }
        drop(state);
        self.shared.room.notify_all();
        self.waited += began.elapsed();
        Some(item)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        locked(&self.shared.state).stop = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // Panics inside a batch were caught and reported; there is nobody left to tell of another.
            let _ = worker.join();
        }
    }
}

impl<S: VolumeSource> Work<S> {
    fn run(&self, shared: &Shared) {
        let mut scratch = Scratch::default();
        loop {
            let number = {
                let mut state = locked(&shared.state);
                while !state.stop
                    && state.claimed < self.batches.len()
                    && state.claimed >= state.delivered + self.options.ahead
                {
                    state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.stop || state.claimed == self.batches.len() {
                    return;
                }
                state.claimed += 1;
                state.claimed - 1
            };
            let made = catch_unwind(AssertUnwindSafe(|| self.batch(number, &mut scratch)));
            let made = made.unwrap_or_else(|panic| {
                let message = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_else(|| "a panic without a message".to_owned());
                Err(BatchError::Worker { batch: number, message })
            });
            let mut state = locked(&shared.state);
            state.done.insert(number, made);
            if state.consumer_waits {
                shared.ready.notify_all();
            }
        }
    }

    fn batch(&self, number: usize, scratch: &mut Scratch) -> Result<Batch, BatchError> {
        let samples = &self.samples[self.batches[number].clone()];
        let shape = self.source.shape();
        let voxels: usize = shape.iter().product();
        let mut batch = Batch {
            images: self.pool.take(samples.len() * voxels),
            labels: samples.iter().map(|s| s.label).collect(),
            indices: samples.iter().map(|s| s.index).collect(),
            shape: [samples.len(), 1, shape[0], shape[1], shape[2]],
            lesions: self.options.lesions.then(|| BatchLesions {
                shares: self.pool.take(samples.len() * voxels),
                known: samples.iter().map(|s| self.source.lesion(s.index) != Lesion::Unknown).collect(),
            }),
            pool: self.pool.clone(),
        };
        let options = &self.options;
        let (seed, fold, epoch) = (options.seed, options.fold, options.epoch);
        let key = |subject| DrawKey { seed, fold, epoch, subject };
        let expect_voxels = |sample: &Sample, found: usize| {
            let wrong = || BatchError::WrongSize { subject: sample.subject.clone(), found, expected: voxels };
            if found == voxels { Ok(()) } else { Err(wrong()) }
        };
        for (sample, out) in samples.iter().zip(batch.images.chunks_exact_mut(voxels.max(1))) {
            let volume = self.source.volume(sample.index);
            expect_voxels(sample, volume.len())?;
            match &options.augmentation {
                None => out.copy_from_slice(volume),
                Some(augmentation) => {
                    augmentation.apply(key(&sample.subject), shape, options.background, volume, out, scratch);
                }
            }
        }
        let lesions = batch.lesions.iter_mut().flat_map(|lesions| lesions.shares.chunks_exact_mut(voxels.max(1)));
        for (sample, out) in samples.iter().zip(lesions) {
            let Lesion::Inside(lesion) = self.source.lesion(sample.index) else {
                out.fill(0.0);
                continue;
            };
            expect_voxels(sample, lesion.len())?;
            match &options.augmentation {
                None => out.iter_mut().zip(lesion).for_each(|(out, inside)| *out = f32::from(*inside)),
                Some(augmentation) => {
                    augmentation.apply_to_lesion(key(&sample.subject), shape, lesion, out, scratch);
                }
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::training::augment::Augmentation;

    struct Ramps {
        volumes: Vec<Vec<f32>>,
        /// While held, no volume is given.
        gate: Arc<Mutex<()>>,
        broken: Option<usize>,
    }

    impl VolumeSource for Ramps {
        fn shape(&self) -> [usize; 3] {
            [6, 5, 4]
        }
        fn volume(&self, index: usize) -> &[f32] {
            drop(locked(&self.gate));
            assert_ne!(self.broken, Some(index), "volume {index} is broken");
            &self.volumes[index]
        }
    }

    fn ramps(count: usize) -> Ramps {
        let volumes = (0..count).map(|n| (0..120).map(|i| (i * (n + 1)) as f32 % 17.0 - 8.0).collect()).collect();
        Ramps { volumes, gate: Arc::default(), broken: None }
    }

    fn options(workers: usize) -> BatchOptions {
        let augmentation = Some(Augmentation::default_profile());
        let (seed, fold, epoch) = (5, 1, 2);
        BatchOptions {
            batch_size: 4,
            workers,
            ahead: 3,
            training: true,
            seed,
            fold,
            epoch,
            augmentation,
            background: 0.0,
            lesions: false,
        }
    }

    fn start(source: Ramps, options: BatchOptions) -> Batches {
        let samples = (0..source.volumes.len())
            .map(|index| Sample { index, label: index as i64 % 2, subject: format!("sub-{index}") })
            .collect();
        Batches::start(Arc::new(source), samples, options, &BufferPool::default()).unwrap()
    }

    type Seen = Vec<(Vec<f32>, Vec<i64>, Vec<usize>)>;

    fn all(options: BatchOptions) -> Seen {
        start(ramps(22), options)
            .map(|b| b.unwrap())
            .map(|b| (b.images.clone(), b.labels.clone(), b.indices.clone()))
            .collect()
    }

    #[test]
    fn one_worker_and_four_make_the_same_batches() {
        let one = all(options(1));
        assert_eq!(one, all(options(4)));
        assert_ne!(one, all(BatchOptions { epoch: 3, ..options(4) }));
        let mut seen: Vec<usize> = one.iter().flat_map(|b| b.2.clone()).collect();
        assert_ne!(seen, (0..22).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..22).collect::<Vec<_>>());
        assert!(one.iter().all(|b| b.2.iter().zip(&b.1).all(|(i, l)| *i as i64 % 2 == *l)));
    }

    /// Volumes that are their own lesions. Of every three, one has none, one has a mask, one is empty and lacks it.
    struct Blocks;

    impl VolumeSource for Blocks {
        fn shape(&self) -> [usize; 3] {
            [6, 5, 4]
        }
        fn volume(&self, index: usize) -> &[f32] {
            const VALUES: [[f32; 120]; 2] = [values(0), values(1)];
            &VALUES[usize::from(index % 3 == 1)]
        }
        fn lesion(&self, index: usize) -> Lesion<'_> {
            const INSIDE: [u8; 120] = inside();
            [Lesion::Nowhere, Lesion::Inside(&INSIDE), Lesion::Unknown][index % 3]
        }
    }

    const fn inside() -> [u8; 120] {
        let (mut inside, mut i) = ([0; 120], 0);
        while i < 120 {
            inside[i] = (i % 7 < 3 && i % 20 > 5) as u8;
            i += 1;
        }
        inside
    }

    const fn values(index: usize) -> [f32; 120] {
        let (inside, mut values, mut i) = (inside(), [0.0; 120], 0);
        while i < 120 {
            values[i] = (inside[i] as usize * index) as f32;
            i += 1;
        }
        values
    }

    #[test]
    fn a_lesion_turns_with_its_volume_and_one_without_a_mask_is_empty_and_unknown() {
        let turned = Augmentation { flip: true, ..Augmentation::paper() };
        for augmentation in [None, Some(turned)] {
            let samples = (0..12).map(|index| Sample { index, label: 0, subject: format!("sub-{index}") }).collect();
            let asked = BatchOptions { augmentation, lesions: true, ..options(2) };
            let (mut filled, mut unknown) = (0, Vec::new());
            for batch in Batches::start(Arc::new(Blocks), samples, asked, &BufferPool::default()).unwrap() {
                let batch = batch.unwrap();
                let lesions = batch.lesions.as_ref().unwrap();
                assert_eq!(lesions.shares, batch.images);
                filled += batch.images.chunks(120).filter(|image| image.iter().any(|v| *v > 0.0)).count();
                assert_eq!(lesions.known.len(), batch.indices.len());
                unknown.extend(batch.indices.iter().zip(&lesions.known).filter(|(_, known)| !**known).map(|(i, _)| *i));
            }
            unknown.sort_unstable();
            assert_eq!((filled, unknown), (4, vec![2, 5, 8, 11]));
        }
    }

    #[test]
    fn a_panic_reaches_the_consumer_and_ends_the_epoch() {
        let mut batches = start(Ramps { broken: Some(3), ..ramps(9) }, BatchOptions { training: false, ..options(2) });
        let error = batches.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("volume 3 is broken"), "{error}");
        assert!(batches.next().is_none());
    }

    #[test]
    fn waiting_for_the_source_is_counted_and_being_busy_is_not() {
        let source = ramps(8);
        let gate = source.gate.clone();
        let closed = locked(&gate);
        let mut batches = start(source, options(1));
        let shared = batches.shared.clone();
        let consumer = std::thread::spawn(move || {
            let began = Instant::now();
            batches.next().unwrap().unwrap();
            let waited = batches.waited();
            assert!(waited <= began.elapsed());
            // The second batch is ready before it is asked for.
            while !locked(&batches.shared.state).done.contains_key(&1) {
                std::thread::yield_now();
            }
            let (busy, asked) = (batches.waited(), Instant::now());
            batches.next().unwrap().unwrap();
            assert!(busy == waited && batches.waited() - waited <= asked.elapsed());
            waited
        });
        while !locked(&shared.state).consumer_waits {
            std::thread::yield_now();
        }
        let seen = Instant::now();
        while seen.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        let kept_waiting = seen.elapsed();
        drop(closed);
        assert!(consumer.join().unwrap() >= kept_waiting);
    }

    #[test]
    fn leaving_early_joins_the_workers_and_buffers_come_back() {
        let pool = BufferPool::default();
        let source = Arc::new(ramps(40));
        let samples: Vec<Sample> =
            (0..40).map(|index| Sample { index, label: 0, subject: format!("{index}") }).collect();
        for _ in 0..3 {
            let mut batches = Batches::start(source.clone(), samples.clone(), options(2), &pool).unwrap();
            drop(batches.next());
            drop(batches);
            // All workers are gone, so nobody else holds the source; never more buffers than were in flight.
            assert_eq!(Arc::strong_count(&source), 1);
            assert!((1..=4).contains(&locked(&pool.0).len()));
        }
    }

    #[test]
    fn a_set_of_one_cannot_train() {
        let samples = vec![Sample { index: 0, label: 0, subject: "a".into() }];
        let refused = Batches::start(Arc::new(ramps(1)), samples, options(1), &BufferPool::default());
        assert!(matches!(refused, Err(BatchError::TooFewSamples(1))));
    }
}
