#!/usr/bin/env bash
# A SLURM of this machine's own, to try things against: munged, slurmctld and slurmd, without systemd, as root.
#
#     cluster/slurm-in-a-box.sh start DIR     # writes DIR/slurm.conf, starts all three, waits until a job can run
#     export SLURM_CONF=DIR/slurm.conf        # sinfo, sbatch, squeue, scancel and mesodask now mean this SLURM
#     cluster/slurm-in-a-box.sh stop DIR      # ends the jobs and the daemons, and removes DIR
#
# Debian and Ubuntu have what it needs: apt-get install --no-install-recommends slurm-wlm munge
# Everything lies in DIR and listens on loopback, on ports that were free: several boxes do not meet. No accounting.
set -euo pipefail

n_cpus=2
patience=60 # s

main() {
    if [[ $# -ne 2 || ! $1 =~ ^(start|stop)$ ]]; then
        echo "usage: $0 start DIR | stop DIR" >&2
        exit 2
    fi
    dir=$(realpath -m -- "$2")
    export SLURM_CONF=$dir/slurm.conf PATH=$PATH:/usr/sbin:/sbin
    "$1"
}

start() {
    require
    # SLURM's configuration knows no quotes, and a socket's path has at most 107 characters
    [[ $dir =~ ^[A-Za-z0-9/._+-]{1,90}$ ]] || fail "$dir: give a path of at most 90 letters, digits and . _ + -"
    if [[ -e $dir && -n $(ls -A -- "$dir") ]]; then
        fail "$dir is not empty; give a folder that is not there yet, or stop the SLURM in it"
    fi
    mkdir -p "$dir"/{munge,state,spool,log}
    chmod 755 "$dir" "$dir/munge"
    trap 'give_up' ERR
    start_munge
    read -r ctld_port slurmd_port < <(free_ports)
    write_conf
    slurmctld -c
    wait_for "slurmctld" controller_answers
    slurmd
    wait_for "the node" node_is_idle
    trap - ERR
    echo "SLURM is up; its commands take it with: export SLURM_CONF=$SLURM_CONF"
}

require() {
    [[ $(id -u) == 0 ]] || fail "SLURM's daemons must be started as root"
    local tool
    for tool in munged slurmctld slurmd sinfo squeue scancel python3; do
        command -v "$tool" >/dev/null ||
            fail "there is no $tool; install it: apt-get install --no-install-recommends slurm-wlm munge python3"
    done
}

start_munge() {
    dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 status=none
    chmod 400 "$dir/munge/key"
    # --force: a folder in a folder of mode 700 is fine here, where root alone is served
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" 2>>"$dir/log/munged.err"
    wait_for "munged" test -S "$dir/munge/socket"
}

# both are held open together: two different ones
free_ports() {
    python3 -c '
import socket
held = [socket.socket() for _ in range(2)]
for each in held:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in held))'
}

write_conf() {
    local host
    host=$(hostname -s 2>/dev/null || hostname)
    # names need not resolve: every one has its address
    cat >"$SLURM_CONF" <<CONF
ClusterName=box
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
MpiDefault=none
SwitchType=switch/none
ReturnToService=2

# no cgroups, which containers seldom give
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none

# processors are counted, memory is not; a machine may have fewer than it says here
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000,sched_interval=2,bf_interval=2,defer_batch
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1

# short ways: SIGKILL 5 s after SIGTERM, jobs forgotten 10 s after their end
KillWait=5
MinJobAge=10
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=30
MessageTimeout=10
EpilogMsgTime=0

NodeName=box NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$n_cpus RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes=box Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=box MaxTime=INFINITE State=UP PriorityTier=2
CONF
}

controller_answers() { [[ $(scontrol ping 2>/dev/null) == *UP* ]]; }
node_is_idle() { [[ $(sinfo -h -p main -o %t 2>/dev/null) == idle ]]; }

wait_for() {
    local what=$1 end=$((SECONDS + patience))
    shift
    until "$@"; do
        if ((SECONDS >= end)); then
            tail -n 20 "$dir"/log/* >&2 || true
            give_up "$what is not up after $patience s; the logs are above"
        fi
        sleep 0.2
    done
}

stop() {
    [[ -e $SLURM_CONF || -d $dir/munge ]] || fail "$dir holds no SLURM of this script"
    # the daemons' end would leave the jobs running
    [[ ! -e $dir/slurmctld.pid ]] || ! controller_answers || end_jobs
    local name
    for name in slurmd slurmctld munge/munged; do
        end_daemon "$name"
    done
    rm -rf -- "$dir"
}

end_jobs() {
    local left end=$((SECONDS + patience))
    left=$(squeue -h -o %A)
    [[ -z $left ]] || xargs scancel <<<"$left"
    while [[ -n $(squeue -h -o %A) ]] && ((SECONDS < end)); do
        sleep 0.2
    done
}

end_daemon() {
    local pid end=$((SECONDS + 10))
    pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 0
    # a number alone may meanwhile be another process
    ! is_running "$pid" "${1##*/}" || kill "$pid"
    while is_running "$pid" "${1##*/}"; do
        ((SECONDS < end)) || kill -KILL "$pid" || true
        sleep 0.1
    done
}

is_running() { [[ $(cat "/proc/$1/comm" 2>/dev/null) == "$2" ]]; }

give_up() {
    trap - ERR
    stop || true
    fail "${1:-SLURM could not be started}"
}

fail() {
    echo "slurm-in-a-box: $1" >&2
    exit 1
}

main "$@"
