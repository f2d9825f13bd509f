"""A store that speaks the protocol of S3: moto, which keeps objects in memory and takes any signature."""

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

application = DomainDispatcherApplication(create_backend_app)
