FROM alpine
COPY --link --chown=1000:1000 --chmod=u=rwX,go=rX a b /dest/
COPY --parents x/a.txt y/b.txt /parents/
COPY --exclude=*.md --exclude=docs . /app
COPY --from=nginx:latest /etc/nginx/nginx.conf /nginx.conf
COPY ["one two", "three", "/exec form/"]
COPY *.json config?.yaml ./
