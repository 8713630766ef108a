// The error type is part of the public interface and lives there.
#pragma once

#include "leafcutter/error.h"
