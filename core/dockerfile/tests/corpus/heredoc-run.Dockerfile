FROM debian:13
RUN <<EOF
set -eux
apt-get update
apt-get install -y --no-install-recommends curl
rm -rf /var/lib/apt/lists/*
EOF
RUN python3 <<'PY'
print("$HOME is not expanded")
PY
RUN cat <<EOF > /etc/motd && chmod 644 /etc/motd
Welcome
EOF
