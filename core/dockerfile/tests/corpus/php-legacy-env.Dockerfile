FROM php:8.3-apache
MAINTAINER Web Team <web@example.com>
ENV APACHE_DOCUMENT_ROOT /var/www/html/public
ENV COMPOSER_HOME /tmp/composer
LABEL version 1.0
RUN a2enmod rewrite headers
RUN sed -ri -e 's!/var/www/html!${APACHE_DOCUMENT_ROOT}!g' /etc/apache2/sites-available/*.conf
COPY . /var/www/html
EXPOSE 80
