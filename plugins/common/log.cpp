#include "common/log.h"

#include <atomic>
#include <cstdio>

namespace lzu
{

namespace
{

std::atomic<nvinfer1::ILoggerFinder*> gFinder{nullptr};

} // namespace

void setLogger(nvinfer1::ILoggerFinder* finder) noexcept
{
    gFinder = finder;
}

void logError(std::string const& message) noexcept
{
    nvinfer1::ILoggerFinder* const finder = gFinder;
    nvinfer1::ILogger* const logger = finder != nullptr ? finder->findLogger() : nullptr;
    if (logger != nullptr)
    {
        logger->log(nvinfer1::ILogger::Severity::kERROR, message.c_str());
        return;
    }
    std::fprintf(stderr, "%s\n", message.c_str());
}

} // namespace lzu
