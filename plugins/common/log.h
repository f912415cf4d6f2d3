// Messages to TensorRT's logger, once it told us where to find it, else to the error stream.
#pragma once

#include <NvInferRuntime.h>

#include <string>

namespace lzu
{

void setLogger(nvinfer1::ILoggerFinder* finder) noexcept;

void logError(std::string const& message) noexcept;

} // namespace lzu
