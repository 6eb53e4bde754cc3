#!/usr/bin/env bash
# Run a command, for at most SECONDS, beside a real Slurm of one node with two GPUs that are none; stop it at the end.
#     run.sh SECONDS COMMAND...
# As root on Debian with slurm-wlm and munge; needs no systemd, database or cgroups.
set -euo pipefail
limit=$1
shift

config=/etc/slurm # jobs look nowhere else: Snakemake's plugin hides SLURM_CONF from them
if [ -e "$config/slurm.conf" ]; then
  echo "$config/slurm.conf: expected no Slurm on this machine, found its settings. Test elsewhere." >&2
  exit 2
fi
folder=$(mktemp -d)
chmod 755 "$folder" # munged wants its socket within everybody's reach

stop() {
  kill "${command:-}" 2>/dev/null && wait "$command" || true
  for name in slurmd slurmctld munged; do
    if pid=$(cat "$folder/$name.pid" 2>/dev/null); then
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done
  rm -rf "$config/slurm.conf" "$config/gres.conf" "$folder"
}
trap stop EXIT
trap 'exit 143' TERM INT

mkdir -p "$folder/state" "$folder/spool" "$config"
cat >"$config/gres.conf" <<END
NodeName=localhost Name=gpu File=/dev/null,/dev/zero
END
# MinJobAge: without a database, squeue alone remembers jobs that have ended.
cat >"$config/slurm.conf" <<END
ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MinJobAge=86400
KillWait=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName=localhost CPUs=$(nproc) RealMemory=$(awk '/^MemTotal/ { print int($2 / 1100) }' /proc/meminfo) Gres=gpu:2
PartitionName=main Nodes=localhost Default=YES MaxTime=60 State=UP
END

head -c 128 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"
munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld
slurmd -N localhost
for _ in $(seq 60); do
  if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then
    timeout --kill-after=10 "$limit" "$@" &
    command=$!
    wait "$command"
    exit
  fi
  sleep 0.5
done
echo "Slurm has not started:" >&2
tail -n 20 "$folder"/*.log >&2
exit 2
