//! glommio: `DmaFile`, one executor.

use std::{io, path::Path, rc::Rc, time::Duration, time::Instant};

use futures_util::{StreamExt as _, stream};
use glommio::{LocalExecutorBuilder, Placement, io::DmaFile};

use super::{FILE_BYTES, FILES, READ_BYTES, READ_DEPTH, WRITE_BYTES, WRITE_DEPTH, noise, read_offsets};

fn run<F: Future<Output = Result<Duration, glommio::GlommioError<()>>>>(main: F) -> io::Result<Duration> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 << 20);
    let executor = builder.make().map_err(|error| io::Error::other(error.to_string()))?;
    executor.run(main).map_err(|error| io::Error::other(error.to_string()))
}

pub(super) fn append(directory: &Path) -> io::Result<Duration> {
    let noise = noise();
    run(async move {
        let start = Instant::now();
        for number in 0..FILES {
            let file = Rc::new(DmaFile::create(directory.join(number.to_string())).await?);
            file.pre_allocate(FILE_BYTES, true).await?;
            let mut piece = file.alloc_dma_buffer(WRITE_BYTES);
            piece.as_bytes_mut().copy_from_slice(&noise);
            let piece = Rc::new(piece);
            let writes = (0..FILE_BYTES).step_by(WRITE_BYTES).map(|at| {
                let (file, piece) = (Rc::clone(&file), Rc::clone(&piece));
                async move { file.write_rc_at(piece, at).await }
            });
            let mut writes = stream::iter(writes).buffer_unordered(WRITE_DEPTH);
            while let Some(written) = writes.next().await {
                written?;
            }
            drop(writes);
            file.fdatasync().await?;
            file.close_rc().await?;
        }
        Ok(start.elapsed())
    })
}

pub(super) fn read(path: &Path) -> io::Result<Duration> {
    run(async move {
        let file = Rc::new(DmaFile::open(path).await?);
        let start = Instant::now();
        let reads = read_offsets().map(|at| {
            let file = Rc::clone(&file);
            async move { file.read_at_aligned(at, READ_BYTES).await.map(drop) }
        });
        let mut reads = stream::iter(reads).buffer_unordered(READ_DEPTH);
        while let Some(read) = reads.next().await {
            read?;
        }
        let took = start.elapsed();
        drop(reads);
        file.close_rc().await?;
        Ok(took)
    })
}
