"""Dependency injection outside a request, by the same declarations that FastAPI reads in one."""

from fastapi_durable.injection.application import AppBound, Application
from fastapi_durable.injection.application_scope import AppScoped, app_scoped
from fastapi_durable.injection.resolver import DependencyResolver

__all__ = ["AppBound", "AppScoped", "Application", "DependencyResolver", "app_scoped"]
