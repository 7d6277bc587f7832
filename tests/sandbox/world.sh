# Prints what a step sees of the world, one fact a line, so that two sandboxes can be compared by their lines.

for fd in 0 1 2; do
    # What the number is, whether it can be opened again, and whose it is.
    echo "fd $fd $(stat -L -c '%F %a %u:%g' /proc/$$/fd/$fd)"
    (: >>/proc/$$/fd/$fd) 2>/dev/null && echo "fd $fd opens"
done
echo "shell $0 $# $- $(umask) $(pwd) $(hostname) $(id)"
test -t 0 && echo "fd 0 is a terminal"

while read -r _ _ _ root point options rest; do
    # The options that stand before the dash, then type, source and the file system's own options.
    optional=${rest%%- *} rest=${rest#*- }
    set -- $rest
    type=$1 source=$2 super=$3
    case $type in
        overlay) super=$(echo "$super" | tr , '\n' | grep -v -e dir= -e lowerdir -e workdir | sort | tr '\n' ,);;
        tmpfs) super=$(echo "$super" | sed -e 's/,inode64//' -e 's/,size=[0-9]*k$//');;
    esac
    case $type in cgroup) test $root = / || root=group;; esac
    case $root in /*/*) root=${root##*/};; esac
    echo "mount $point $root $options [$optional] $type $source $super"
done </proc/self/mountinfo

ls -lnR /dev | sed -e 's/ [A-Z][a-z][a-z] [ 0-9]* [0-9:]* / /' -e 's/^total.*//' | grep . | sed 's/^/dev /'
stat -c 'dev %n %a %u:%g %t:%T %F' /dev /dev/* /dev/*/
stat -c 'root %n %a %u:%g %F' / /.[!.]* /* /etc/* /root /tmp 2>/dev/null
for file in /etc/hosts /etc/resolv.conf; do sed "s|^|$file |" $file; done
for ns in /proc/self/ns/*; do
    # Which namespaces are the host's cannot be seen from inside but by their number.
    echo "namespace ${ns##*/} $(readlink $ns | sed 's/:.*//')"
done

for path in /proc/* /proc/*/ /sys /sys/* /sys/fs/* /sys/fs/cgroup/* /sys/kernel/* /sys/firmware/* \
    /sys/devices/virtual/* /proc/sys/kernel/* /proc/sys/vm/* /proc/sys/fs/* /proc/scsi/* /proc/acpi/*; do
    case $path in /proc/[0-9]* | /proc/self/* | /proc/thread-self*) continue;; esac
    facts=$(stat -c '%F %a %u:%g' "$path" 2>&1)
    case $facts in *"No such file"*) continue;; esac
    if test -d "$path"; then
        (mkdir "$path/made" && rmdir "$path/made") 2>/dev/null && facts="$facts can be changed"
        facts="$facts entries:$(ls -A "$path" 2>/dev/null | grep -vc '^[0-9]')"
    else
        case $path in
            # Reading these waits, or counts.
            */kmsg | */pressure/* | */trace_pipe | */fs/cgroup/*) ;;
            *) test "$(head -c 1 "$path" 2>/dev/null | wc -c)" = 1 && facts="$facts is readable";;
        esac
        (: >>"$path") 2>/dev/null && facts="$facts opens for writing"
    fi
    echo "path $path $facts"
done

for limit in c d e f i l m n p q r s t u v w x H:n H:u; do
    case $limit in H:*) flag="-H -${limit#H:}";; *) flag=-$limit;; esac
    echo "ulimit $limit $(ulimit $flag 2>/dev/null)"
done
for sysctl in kernel/hostname kernel/domainname kernel/shmmax kernel/msgmax kernel/sem \
    kernel/yama/ptrace_scope kernel/unprivileged_userns_clone net/ipv4/ip_unprivileged_port_start \
    net/ipv4/ping_group_range fs/mqueue/msg_max user/max_user_namespaces; do
    echo "sysctl $sysctl $(cat /proc/sys/$sysctl 2>&1)"
done
for interface in /sys/class/net/*; do echo "interface ${interface##*/}"; done
ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1 && echo "ping works"
for command in "mount -t tmpfs none /tmp" "umount /proc" "hostname other" "unshare -r true" "unshare -n true" \
    "date -s 2001-01-01" "dmesg" "chroot / true" "losetup -f" "swapoff -a" "mknod /tmp/n c 1 3" "mkfifo /tmp/p" \
    "su -c true nobody" "chown 7:7 /tmp/p" "nice -n -5 true" "ionice -c 1 true" "chrt -f 1 true" \
    "taskset 1 true" "setpriv --nnp true" "ip link add d0 type dummy" "ip route add 10.250.0.0/16 dev lo" \
    "cat /proc/1/environ" "cat /proc/kallsyms" "ls /proc/1/fd" "ls /proc/1/map_files" "hwclock" "fdflush /dev/null" \
    "blkid" "sysctl -w kernel.domainname=x"; do
    $command >/tmp/said 2>&1
    code=$?
    # The last words are the system's.
    echo "run $command: $code $(tail -n 1 /tmp/said | sed 's/.*: //' | head -c 60 | tr -cd ' -~')"
done
rm -f /tmp/said /tmp/n /tmp/p
