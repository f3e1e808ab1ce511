//! Bounds.

use std::sync::Arc;

use crate::world::{World, cases};

cases![open_files_and_core_dumps, private_space_is_bounded];

async fn open_files_and_core_dumps(world: Arc<World>) {
    let seen = world.run(&world.spec("ulimit -n; ulimit -Hn; ulimit -Hc")).await;
    let numbers: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] >= 1024 && numbers[0] == numbers[1] && numbers[1] <= 65_536 && numbers[2] == 0, "{numbers:?}");
}

async fn private_space_is_bounded(world: Arc<World>) {
    let script = "df -Pk /tmp ~ /dev/shm /var/tmp | tail -n +2 | tr -s ' ' | cut -d' ' -f2; \
                  grep MemTotal /proc/meminfo | tr -s ' ' | cut -d' ' -f2";
    let seen = world.run(&world.spec(script)).await;
    let sizes: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    let memory = sizes[sizes.len() - 1];
    assert!(sizes[..sizes.len() - 1].iter().all(|size| *size <= memory / 3), "{sizes:?}");
}
