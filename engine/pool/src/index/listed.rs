//! The runs that make up the index, as core 0 keeps them in mind, and which of them are to become one.

use std::collections::{BTreeMap, BTreeSet};

use narrows_format::index_run::Directory;

use crate::limits::{MERGE_INPUTS_MAX, RUNS_PER_PARTITION_MAX};

/// What is known of a run without its file.
#[derive(Clone, Debug)]
pub(crate) struct ListedRun {
    pub(crate) records: u64,
    partitions: Vec<u16>,
    /// Part of it could not be read, and that has been said.
    pub(crate) doubted: bool,
}

impl From<&Directory> for ListedRun {
    fn from(directory: &Directory) -> Self {
        let partitions = directory.parts.iter().map(|part| part.partition).collect();
        Self { records: directory.records(), partitions, doubted: false }
    }
}

/// All runs by number.
#[derive(Default)]
pub(crate) struct ListedRuns(pub(crate) BTreeMap<u64, ListedRun>);

impl ListedRuns {
    /// Whether another run in every partition would be one too many.
    pub(crate) fn is_full(&self) -> bool {
        self.fullest().is_some_and(|(_, runs)| runs >= RUNS_PER_PARTITION_MAX)
    }

    /// The partition with the most runs.
    fn fullest(&self) -> Option<(u16, usize)> {
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for partition in self.0.values().flat_map(|run| &run.partitions) {
            *counts.entry(*partition).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, runs)| *runs)
    }

    /// Runs of the fullest partition to be merged: the smallest two, and each next one as long as it is at most twice
    /// as large as those before it together. So an entry is written six times while the index grows to a hundred times a
    /// table, which is where its filters fill their share.
    pub(crate) fn to_merge(&self) -> Vec<u64> {
        let Some((partition, _)) = self.fullest().filter(|_| self.is_full()) else { return Vec::new() };
        let here = self.0.iter().filter(|(_, run)| run.partitions.binary_search(&partition).is_ok());
        let smallest: BTreeSet<(u64, u64)> = here.map(|(number, run)| (run.records, *number)).collect();
        let (mut inputs, mut sum) = (Vec::new(), 0);
        for (records, number) in smallest {
            if inputs.len() >= MERGE_INPUTS_MAX || (inputs.len() >= 2 && records > 2 * sum) {
                break;
            }
            inputs.push(number);
            sum += records;
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(records: u64, partitions: &[u16]) -> ListedRun {
        ListedRun { records, partitions: partitions.to_vec(), doubted: false }
    }

    /// Goal: whatever the sizes and partitions of runs, merging ends with few of them, and costs little.
    #[test]
    fn merging_keeps_runs_few_and_costs_little() {
        let (mut runs, mut next, mut written) = (ListedRuns::default(), 0, 0);
        for flush in 0..100_u64 {
            // Now and then with another number of cores.
            let cores = [2, 3, 1][usize::try_from(flush / 40).unwrap()];
            for core in 0..cores {
                let partitions: Vec<u16> = (0..12).filter(|partition| partition % cores == core).collect();
                next += 1;
                runs.0.insert(next, run(100, &partitions));
                written += 100;
            }
            while runs.is_full() {
                let inputs = runs.to_merge();
                assert!((2..=MERGE_INPUTS_MAX).contains(&inputs.len()), "{inputs:?}");
                let merged: Vec<ListedRun> = inputs.iter().map(|run| runs.0.remove(run).unwrap()).collect();
                let records = merged.iter().map(|run| run.records).sum();
                let all: BTreeSet<u16> = merged.into_iter().flat_map(|run| run.partitions).collect();
                next += 1;
                let partitions: Vec<u16> = all.into_iter().collect();
                runs.0.insert(next, run(records, &partitions));
                written += records;
            }
        }
        let total: u64 = runs.0.values().map(|run| run.records).sum();
        assert!(runs.0.len() <= 12, "{} runs", runs.0.len());
        assert!(written < total * 9, "each entry was written {} times", written / total);
    }
}
