// What a program gets from TensorRT, made for a machine without it: a logger, and the sizes that a builder computes.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace objects
{

using namespace nvinfer1;

inline void check(bool holds, char const* what, char const* file, int line)
{
    if (!holds)
    {
        std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
        std::exit(1);
    }
}

#define CHECK(condition) objects::check((condition), #condition, __FILE__, __LINE__)

class RecordingLogger : public ILogger
{
public:
    void log(Severity severity, AsciiChar const* message) noexcept override
    {
        CHECK(severity == Severity::kERROR);
        messages.emplace_back(message);
    }

    std::vector<std::string> messages;
};

inline RecordingLogger gLogger;

class Finder : public ILoggerFinder
{
public:
    ILogger* findLogger() override
    {
        return &gLogger;
    }
};

class Size : public IDimensionExpr
{
public:
    Size(int64_t value, bool isConstant)
        : number(value)
        , mImplementation(value, isConstant)
    {
        mImpl = &mImplementation;
    }

    ~Size() noexcept override = default;

    int64_t number;

private:
    struct Implementation : apiv::VDimensionExpr
    {
        Implementation(int64_t value, bool isConstant)
            : mValue(value)
            , mIsConstant(isConstant)
        {
        }

        bool isConstant() const override
        {
            return mIsConstant;
        }

        int64_t getConstantValue() const override
        {
            return mIsConstant ? mValue : std::numeric_limits<int64_t>::min();
        }

        bool isSizeTensor() const override
        {
            return false;
        }

        int64_t mValue;
        bool mIsConstant;
    };

    Implementation mImplementation;
};

inline std::vector<std::unique_ptr<Size>> gSizes;

inline IDimensionExpr const* sizeOf(int64_t value, bool isConstant = true)
{
    gSizes.push_back(std::make_unique<Size>(value, isConstant));
    return gSizes.back().get();
}

class Builder : public IExprBuilder
{
public:
    Builder()
    {
        mImpl = &mImplementation;
    }

    ~Builder() noexcept override = default;

private:
    struct Implementation : apiv::VExprBuilder
    {
        IDimensionExpr const* constant(int64_t value) override
        {
            return sizeOf(value);
        }

        IDimensionExpr const* operation(
            DimensionOperation op, IDimensionExpr const& first, IDimensionExpr const& second) override
        {
            CHECK(op == DimensionOperation::kPROD);
            return sizeOf(static_cast<Size const&>(first).number * static_cast<Size const&>(second).number,
                first.isConstant() && second.isConstant());
        }

        IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override
        {
            return nullptr;
        }
    };

    Implementation mImplementation;
};

} // namespace objects
