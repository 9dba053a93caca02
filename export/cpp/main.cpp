// Runs one ONNX graph on one array and says what came out: ./predict model.onnx picture.(npy|ppm|pgm) [labels.txt]
//
// The graph has one input, uint8 or float32, its first side the batch. Of an output as long as the labels the five largest are printed
// with their labels, of others the first values. The C interface is used, by its C++ types where they only hold things.

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kFirstVersion = 14;  // of the interface: everything used here was there by then
constexpr size_t kTop = 5, kFirst = 8;
const OrtApi* ort = nullptr;

struct Array {
  std::string kind;  // as .npy says it: |u1 or <f4
  std::vector<int64_t> shape;
  std::string bytes;
};

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string told = ort->GetErrorMessage(status);
  ort->ReleaseStatus(status);
  throw std::runtime_error(told);
}

// What onnxruntime gave, and what gives it back.
template <typename T>
using Held = std::unique_ptr<T, void (*)(T*)>;

template <typename T>
Held<T> held(T* value, void (*release)(T*)) {
  return Held<T>(value, release);
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("The file must be readable. Received: " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The value of a key in a .npy header: {'descr': '|u1', 'fortran_order': False, 'shape': (1, 32, 32, 1), }
std::string field(const std::string& header, const std::string& key) {
  const size_t start = header.find("'" + key + "':");
  if (start == std::string::npos) throw std::runtime_error("A .npy file must tell its " + key + ".");
  const size_t from = header.find_first_not_of(' ', start + key.size() + 3);
  const size_t to = header.find(header[from] == '(' ? ')' : ',', from);
  return header.substr(from, to - from);
}

Array npy(const std::string& content) {
  const bool wide = content.size() > 6 && content[6] >= 2;  // the length of the header has two bytes, or four
  const size_t start = wide ? 12 : 10;
  if (content.size() < start) throw std::runtime_error("The .npy file is cut short.");
  size_t length = 0;
  for (size_t place = start; place-- > 8;) length = 256 * length + static_cast<unsigned char>(content[place]);
  if (content.size() - start < length) throw std::runtime_error("The .npy file is cut short.");
  const std::string header = content.substr(start, length);
  if (field(header, "fortran_order") != "False") throw std::runtime_error("A .npy file must be in C order.");
  Array array;
  const std::string kind = field(header, "descr");
  array.kind = kind.size() > 2 ? kind.substr(1, kind.size() - 2) : kind;
  std::istringstream sides(field(header, "shape").substr(1));
  for (std::string side; std::getline(sides, side, ',');) {
    if (side.find_first_of("0123456789") != std::string::npos) array.shape.push_back(std::stoll(side));
  }
  array.bytes = content.substr(start + length);
  return array;
}

// The next word of a PPM's header, behind blanks and comments.
std::string word(const std::string& content, size_t& place) {
  while (place < content.size() && (std::isspace(static_cast<unsigned char>(content[place])) || content[place] == '#')) {
    if (content[place] == '#') place = std::min(content.find('\n', place), content.size() - 1);
    ++place;
  }
  const size_t start = place;
  while (place < content.size() && !std::isspace(static_cast<unsigned char>(content[place]))) ++place;
  return content.substr(start, place - start);
}

Array ppm(const std::string& content) {
  size_t place = 2;
  const int64_t width = std::stoll(word(content, place)), height = std::stoll(word(content, place));
  if (word(content, place) != "255") throw std::runtime_error("A PPM or PGM must have levels up to 255.");
  return {"|u1", {1, height, width, content[1] == '6' ? 3 : 1}, content.substr(std::min(place + 1, content.size()))};
}

Array open(const std::string& path) {
  const std::string content = read(path);
  if (content.rfind("\x93NUMPY", 0) == 0) return npy(content);
  if (content.rfind("P5", 0) == 0 || content.rfind("P6", 0) == 0) return ppm(content);
  throw std::runtime_error("The input must be a .npy file, or a binary PPM or PGM. Received: " + path);
}

std::string listed(const std::vector<int64_t>& shape) {
  std::string told;
  for (const int64_t side : shape) told += (told.empty() ? "" : " x ") + (side < 0 ? "any" : std::to_string(side));
  return told;
}

int64_t product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
}

struct Slot {
  std::string name;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::vector<int64_t> shape;
};

std::vector<int64_t> shape_of(const OrtTensorTypeAndShapeInfo* info) {
  size_t sides = 0;
  check(ort->GetDimensionsCount(info, &sides));
  std::vector<int64_t> shape(sides);
  check(ort->GetDimensions(info, shape.data(), sides));
  return shape;
}

Slot slot(const OrtSession* session, size_t place, bool input) {
  OrtAllocator* allocator = nullptr;
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  char* name = nullptr;
  check((input ? ort->SessionGetInputName : ort->SessionGetOutputName)(session, place, allocator, &name));
  Slot found;
  found.name = name;
  check(ort->AllocatorFree(allocator, name));
  OrtTypeInfo* type = nullptr;
  check((input ? ort->SessionGetInputTypeInfo : ort->SessionGetOutputTypeInfo)(session, place, &type));
  const auto kept = held(type, ort->ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort->CastTypeInfoToTensorInfo(type, &info));
  check(ort->GetTensorElementType(info, &found.type));
  found.shape = shape_of(info);
  return found;
}

// The array has the type and the sides of the input, and as many bytes as they say.
void check_fits(const Array& array, const Slot& input) {
  const bool bytes = array.kind == "|u1", numbers = array.kind == "<f4";
  const auto wanted = bytes ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  if (!(bytes || numbers) || input.type != wanted) {
    throw std::runtime_error("The input must be of the type of " + input.name + ", uint8 (|u1) or float32 (<f4). Received: " + array.kind);
  }
  bool sized = array.shape.size() == input.shape.size();
  for (size_t side = 0; sized && side < input.shape.size(); ++side) {
    sized = array.shape[side] > 0 && array.shape[side] < (1 << 24) && (input.shape[side] < 0 || input.shape[side] == array.shape[side]);
  }
  if (!sized) throw std::runtime_error("The input must be " + listed(input.shape) + ". Received: " + listed(array.shape));
  if (array.bytes.size() != static_cast<size_t>(product(array.shape)) * (bytes ? 1 : 4)) {
    const std::string size = std::to_string(array.bytes.size());
    throw std::runtime_error("The file must hold as many values as its shape says. Received: " + size + " bytes");
  }
}

std::vector<std::string> lines(const std::string& path) {
  std::istringstream text(read(path));
  std::vector<std::string> found;
  for (std::string line; std::getline(text, line);) found.push_back(line);
  return found;
}

// One row an example: the largest values with their labels, or the first.
void print(const Slot& output, const float* values, const std::vector<int64_t>& shape, const std::vector<std::string>& labels) {
  const auto rows = static_cast<size_t>(shape.empty() ? 1 : shape[0]);
  const size_t size = static_cast<size_t>(product(shape)) / std::max<size_t>(rows, 1);
  for (size_t row = 0; row < rows; ++row, values += size) {
    std::vector<size_t> order(size);
    std::iota(order.begin(), order.end(), size_t{0});
    const bool named = !labels.empty() && labels.size() == size;
    if (named) std::stable_sort(order.begin(), order.end(), [&](size_t one, size_t other) { return values[one] > values[other]; });
    order.resize(std::min(size, named ? kTop : kFirst));
    std::printf("%s\n", output.name.c_str());
    for (const size_t place : order) std::printf("  %s %.9g\n", named ? labels[place].c_str() : "", values[place]);
  }
}

void run(const std::string& model, const std::string& path, const std::vector<std::string>& labels) {
  OrtEnv* env = nullptr;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "predict", &env));
  const auto kept_env = held(env, ort->ReleaseEnv);
  OrtSessionOptions* options = nullptr;
  check(ort->CreateSessionOptions(&options));
  const auto kept_options = held(options, ort->ReleaseSessionOptions);
  check(ort->SetIntraOpNumThreads(options, 1));
  const std::string graph = read(model);  // from memory: a path would be of another type on Windows
  OrtSession* session = nullptr;
  check(ort->CreateSessionFromArray(env, graph.data(), graph.size(), options, &session));
  const auto kept_session = held(session, ort->ReleaseSession);

  size_t inputs = 0, outputs = 0;
  check(ort->SessionGetInputCount(session, &inputs));
  check(ort->SessionGetOutputCount(session, &outputs));
  if (inputs != 1) throw std::runtime_error("The graph must have one input. Received: " + std::to_string(inputs));
  const Slot input = slot(session, 0, true);
  Array array = open(path);
  check_fits(array, input);

  OrtMemoryInfo* memory = nullptr;
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  const auto kept_memory = held(memory, ort->ReleaseMemoryInfo);
  OrtValue* tensor = nullptr;
  check(ort->CreateTensorWithDataAsOrtValue(memory, array.bytes.data(), array.bytes.size(), array.shape.data(), array.shape.size(),
                                            input.type, &tensor));
  const auto kept_tensor = held(tensor, ort->ReleaseValue);

  for (size_t place = 0; place < outputs; ++place) {
    const Slot output = slot(session, place, false);
    if (output.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) continue;
    const char *given = input.name.c_str(), *wanted = output.name.c_str();
    OrtValue* answer = nullptr;
    check(ort->Run(session, nullptr, &given, &tensor, 1, &wanted, 1, &answer));
    const auto kept_answer = held(answer, ort->ReleaseValue);
    OrtTensorTypeAndShapeInfo* info = nullptr;
    check(ort->GetTensorTypeAndShape(answer, &info));
    const auto kept_info = held(info, ort->ReleaseTensorTypeAndShapeInfo);
    void* values = nullptr;
    check(ort->GetTensorMutableData(answer, &values));
    print(output, static_cast<const float*>(values), shape_of(info), labels);
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 3 || count > 4) {
    std::fprintf(stderr, "predict: give model.onnx, a picture or array, and perhaps labels.txt\n");
    return 2;
  }
  try {
    ort = OrtGetApiBase()->GetApi(kFirstVersion);
    if (ort == nullptr) throw std::runtime_error("onnxruntime must be of version 1.14 or newer.");
    run(words[1], words[2], count == 4 ? lines(words[3]) : std::vector<std::string>());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "predict: %s\n", error.what());
    return 1;
  }
  return 0;
}
