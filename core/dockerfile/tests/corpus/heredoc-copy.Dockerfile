FROM nginx:alpine
COPY <<EOF /usr/share/nginx/html/index.html
<!doctype html>
<title>${NGINX_VERSION}</title>
EOF
COPY <<-"DEFAULT" <<-'EXTRA' /etc/nginx/conf.d/
	server { listen 80; root $document_root; }
	DEFAULT
	# extra
	EXTRA
