FROM httpd
HEALTHCHECK --interval=5m --timeout=3s --start-period=10s --start-interval=2s --retries=5 \
  CMD curl -f http://localhost/ || exit 1
FROM httpd
HEALTHCHECK NONE
FROM httpd
HEALTHCHECK CMD ["/bin/check", "--fast"]
