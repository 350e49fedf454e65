"""What can be set from outside, by environment variables."""

from typing import Annotated

from fastapi import Depends
from pydantic import Field
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    database_url: str = "file:./orders.db"
    """DATABASE_URL: an SQLite file, or `postgresql://user@host/name`."""
    example_step_seconds: Annotated[float, Field(ge=0, le=3600)] = 0
    """EXAMPLE_STEP_SECONDS: how long each step takes, so that there is time to kill the process in one."""


SettingsDep = Annotated[Settings, Depends(Settings)]
